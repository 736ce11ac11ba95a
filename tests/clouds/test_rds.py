"""Read replicas at Amazon RDS, from a file to the last deletion, on moto and what it leaves out."""

from __future__ import annotations

import json
import re

import pytest

from pgfleet.errors import ProvisionError
from pgfleet.provision.apply import apply
from pgfleet.provision.plan import plan_apply, plan_destroy
from tests.clouds.applying import unheard
from tests.clouds.rds_account import FAR, REGION, Account, client
from tests.clouds.rds_fleet import ABROAD, FULL, ONE, TWO, facts, have, problems, provider
from tests.docs.pages import ROOT


async def test_a_replica_is_made_as_it_is_wished_and_streams(account: Account) -> None:
    await have(account, FULL)
    made = facts("replica-1")
    assert (made["DBInstanceClass"], made["AvailabilityZone"]) == ("db.r5.xlarge", "us-east-1b")
    assert made["PubliclyAccessible"] is False
    assert (made["MonitoringInterval"], made["PerformanceInsightsEnabled"]) == (30, True)
    assert {tag["Key"]: tag["Value"] for tag in made["TagList"]} == {
        "pgfleet": "hospitality",
        "Role": "read replica",
        "Environment": "production",
    }
    assert made["StatusInfos"][0]["Status"] == "replicating"


async def test_two_are_made_although_each_makes_the_primary_busy(account: Account) -> None:
    made = provider(account, TWO)
    told: list[str] = []
    plan = await plan_apply(made)
    for step in plan.steps:
        await made.carry_out(step.change, told.append)
    made_one = ["creating", "backing-up", "available, replication not begun"]
    waits = ["waits for hotel, which is modifying", "waits for hotel, which is available"]
    assert told == [*made_one, *waits, *made_one]
    assert (await plan_apply(made)).steps == ()
    await have(account, TWO + ONE.replace("-1", "-3") + ONE.replace("-1", "-4"))
    endpoints = await provider(account, TWO).endpoints()
    assert [(one.name, one.port) for one in endpoints] == [
        ("primary", 5432),
        ("replica-1", 5432),
        ("replica-2", 5432),
    ]
    assert endpoints[0].host.startswith("hotel.")


async def test_a_replica_is_no_endpoint_before_it_streams(account: Account) -> None:
    made = provider(account)
    api = account.open()
    api.call(
        "CreateDBInstanceReadReplica", DBInstanceIdentifier="replica-1", SourceDBInstanceIdentifier="hotel"
    )
    assert [one.name for one in await made.endpoints()] == ["primary"]


async def test_one_made_by_hand_is_kept_and_never_changed(account: Account) -> None:
    account.replica("replica-1")
    made = provider(account)
    await apply(made, await plan_apply(made))
    assert "was not made by this file" in await problems(account, f'{ONE}class = "db.r5.xlarge"')
    assert (await plan_destroy(made)).steps == ()


async def test_changes_are_made_and_waited_for(account: Account) -> None:
    await have(account, FULL)
    changed = FULL.replace("xlarge", "large").replace("production", "test").replace("= true", "= false")
    made = provider(account, changed)
    (step,) = (await plan_apply(made)).steps
    assert "class db.r5.xlarge -> db.r5.large" in step.title
    assert account.writes() == ["CreateDBInstanceReadReplica"]
    await made.carry_out(step.change, unheard)
    assert account.instance("replica-1").db_instance_class == "db.r5.large", "it is when it says so"
    await have(account, changed)
    assert account.writes()[1:] == ["AddTagsToResource", "ModifyDBInstance"]
    assert facts("replica-1")["PerformanceInsightsEnabled"] is False


async def test_a_parameter_group_holds_after_a_restart_which_is_said(account: Account) -> None:
    group = f'{ONE}parameter_group = "reports"\nsecurity_groups = ["sg-2", "sg-1"]\n'
    await have(account, ONE)
    made = provider(account, group)
    with pytest.raises(ProvisionError, match="there is no such parameter group") as caught:
        await apply(made, await plan_apply(made))
    assert "aws rds create-db-parameter-group" in caught.value.hint
    client(REGION).call(
        "CreateDBParameterGroup",
        DBParameterGroupName="reports",
        DBParameterGroupFamily="postgres16",
        Description="d",
    )
    (step,) = (await plan_apply(made)).steps
    told: list[str] = []
    await made.carry_out(step.change, told.append)
    assert "hold after a restart: aws rds reboot-db-instance --region us-east-1" in told[-1]
    await have(account, group)
    assert facts("replica-1")["DBParameterGroups"][0]["DBParameterGroupName"] == "reports"


async def test_a_public_replica_becomes_private(account: Account) -> None:
    await have(account, ONE)
    account.instance("replica-1").publicly_accessible = True
    (step,) = (await plan_apply(provider(account))).steps
    assert "--no-publicly-accessible --apply-immediately" in step.commands[0]
    await have(account, ONE)
    assert facts("replica-1")["PubliclyAccessible"] is False


async def test_destroy_removes_ours_and_nothing_else(account: Account) -> None:
    await have(account, TWO)
    account.replica("replica-3")
    account.replica("replica-4", tags={"pgfleet": "another"})
    await have(account, ONE)
    assert account.names() == ["hotel", "replica-1", "replica-3", "replica-4"], "one that left the file goes"
    made = provider(account)
    await apply(made, await plan_destroy(made))
    assert account.names() == ["hotel", "replica-3", "replica-4"]


async def test_a_replica_with_replicas_is_not_removed(account: Account) -> None:
    await have(account, ONE)
    account.instance("replica-1").replicas = ["grandchild"]
    made = provider(account)
    with pytest.raises(ProvisionError, match=r"has replicas of its own.*grandchild"):
        await apply(made, await plan_destroy(made))


async def test_what_was_ours_when_it_was_planned_is_looked_at_again(account: Account) -> None:
    await have(account, ONE)
    made = provider(account)
    plan = await plan_destroy(made)
    account.instance("replica-1").tags = []
    with pytest.raises(ProvisionError, match="was not made by this file"):
        await apply(made, plan)
    assert account.names() == ["hotel", "replica-1"]


async def test_a_promoted_replica_is_left_alone(account: Account) -> None:
    await have(account, TWO)
    made = provider(account, TWO)
    await made.promote("replica-1", unheard)
    assert "ReadReplicaSourceDBInstanceIdentifier" not in facts("replica-1")
    assert facts("hotel")["ReadReplicaDBInstanceIdentifiers"] == ["replica-2"]
    assert "replica replica-1: is no replica, it was promoted" in await problems(account, TWO)
    await apply(made, await plan_destroy(made))
    assert account.names() == ["hotel", "replica-1"]
    with pytest.raises(ProvisionError, match="is no replica of hotel any more"):
        await made.promote("replica-1", unheard)


async def test_whom_nobody_knows_is_not_promoted(account: Account) -> None:
    await have(account, ONE)
    made = provider(account)
    for name in ("replica-7", "hotel"):
        with pytest.raises(ProvisionError, match=f"there is no replica {name} of hotel") as caught:
            await made.promote(name, unheard)
        assert "replica-1" in caught.value.hint


async def test_a_replica_in_another_region(account: Account) -> None:
    await have(account, ABROAD)
    call = next(body for operation, body in account.said if operation == "CreateDBInstanceReadReplica")
    assert call["SourceDBInstanceIdentifier"] == "arn:aws:rds:us-east-1:123456789012:db:hotel"
    assert call["PreSignedUrl"].startswith("https://rds.us-east-1.amazonaws.com")
    assert (account.names(), account.names(FAR)) == (["hotel"], ["replica-1"])
    assert f"its region is {FAR} and stays so" in await problems(account, ONE)
    await have(account, ONE.replace("replica-1", "replica-2"))
    assert account.names(FAR) == [], "found by the primary's list, though no replica is wanted there any more"


async def test_the_policy_of_the_guide_allows_what_is_asked_and_no_more(account: Account) -> None:
    await have(account, FULL)
    await have(
        account, FULL.replace("xlarge", "large").replace("production", "test") + ONE.replace("-1", "-2")
    )
    made = provider(account, TWO)
    await made.promote("replica-1", unheard)
    await apply(made, await plan_destroy(made))
    page = (ROOT / "docs/guides/rds.md").read_text()
    policy = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert {f"rds:{operation}" for operation in account.operations} == {
        a for a in allowed if a.startswith("rds:")
    }
