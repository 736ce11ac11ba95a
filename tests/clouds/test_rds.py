"""Read replicas at Amazon RDS, from a file to the last deletion, on moto and what it leaves out."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgfleet.clouds.failure import ApiFailure
from pgfleet.core.changes import Action
from pgfleet.errors import ConfigurationError, ProvisionError
from pgfleet.provision.apply import apply
from pgfleet.provision.file import parse_declaration
from pgfleet.provision.managed.pace import Pace
from pgfleet.provision.plan import plan_apply, plan_destroy
from pgfleet.provision.rds import open_provider
from pgfleet.provision.rds.provider import RdsProvider
from tests.clouds import rds_shim
from tests.clouds.rds_account import ENVIRON, FAR, REGION, Account, client
from tests.docs.pages import ROOT

AT_ONCE = Pace(poll_s=0.0, longest_s=60.0)
FLEET = """
[fleet]
name = "hospitality"
[provider]
kind = "rds"
region = "us-east-1"
[primary]
instance = "hotel"
"""
ONE = '[[replica]]\nname = "replica-1"\n'
TWO = f'{ONE}[[replica]]\nname = "replica-2"\n'
FULL = """
[[replica]]
name = "replica-1"
class = "db.r5.xlarge"
zone = "us-east-1b"
tags = { Role = "read replica", Environment = "production" }
monitoring_interval_s = 30
monitoring_role_arn = "arn:aws:iam::123456789012:role/monitoring"
performance_insights = true
"""


class Killed(Exception):
    """The process ends here."""


@pytest.fixture
def account() -> Iterator[Account]:
    with rds_shim.account() as account:
        account.primary()
        yield account


def provider(account: Account, replicas: str = "", fleet: str = FLEET, pace: Pace = AT_ONCE) -> RdsProvider:
    declaration = parse_declaration(fleet + (replicas or ONE), Path("/fleet.toml"))
    open_provider(declaration, ENVIRON)  # which tells what is wrong with the values
    return RdsProvider(declaration, ENVIRON, pace, account.open)


async def have(account: Account, replicas: str, fleet: str = FLEET) -> None:
    """Apply, and see that nothing is left to do."""
    made = provider(account, replicas, fleet)
    await apply(made, await plan_apply(made))
    again = await plan_apply(made)
    assert (again.problems, again.steps) == ((), ())


async def problems(account: Account, replicas: str = ONE, fleet: str = FLEET) -> str:
    """What a plan complains of, which has changed nothing."""
    before = account.writes()
    plan = await plan_apply(provider(account, replicas, fleet))
    assert account.writes() == before
    return "\n".join(plan.problems)


def facts(name: str, region: str = REGION) -> dict[str, Any]:
    found: dict[str, Any] = client(region).call("DescribeDBInstances", DBInstanceIdentifier=name)[
        "DBInstances"
    ][0]
    return found


def unheard(_: str) -> None:
    pass


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


async def test_somebody_may_ask_for_the_endpoints_while_steps_begin(account: Account) -> None:
    """As the registration of one replica does, while another is made."""
    made = provider(account)
    (step,) = (await plan_apply(made)).steps
    api = made._api(REGION)
    release = threading.Event()

    def wait(**_: Any) -> None:
        release.wait(20)

    api.client.meta.events.register("before-call.rds", wait)
    try:
        asking = asyncio.create_task(made.endpoints())
        await asyncio.sleep(0)
        making = asyncio.create_task(made.carry_out(step.change, unheard))
        await asyncio.sleep(0)
        assert not making.done()
        release.set()
        await asyncio.gather(asking, making)
    finally:
        release.set()
        api.client.meta.events.unregister("before-call.rds", wait)


async def test_a_replica_is_no_endpoint_before_it_streams(account: Account) -> None:
    made = provider(account)
    api = account.open()
    api.call(
        "CreateDBInstanceReadReplica", DBInstanceIdentifier="replica-1", SourceDBInstanceIdentifier="hotel"
    )
    assert [one.name for one in await made.endpoints()] == ["primary"]


@pytest.mark.parametrize(
    ("primary", "complaint"),
    [
        (
            {"BackupRetentionPeriod": 0},
            "keeps no backups.*aws rds modify-db-instance .*--backup-retention-period 1",
        ),
        ({"Engine": "mysql", "EngineVersion": "8.0.35"}, "runs mysql"),
        ({"Engine": "aurora-postgresql", "EngineVersion": "16.4"}, "Aurora"),
    ],
)
async def test_a_primary_that_can_have_no_replicas(
    account: Account, primary: dict[str, Any], complaint: str
) -> None:
    account.primary("other", **primary)
    assert re.search(complaint, await problems(account, fleet=FLEET.replace("hotel", "other")))


async def test_a_member_of_a_cluster_can_have_no_replicas(account: Account) -> None:
    account.instance("hotel").db_cluster_identifier = "hotels"
    assert "is a member of the cluster hotels" in await problems(account)


async def test_a_primary_that_is_a_standby_or_stopped(account: Account) -> None:
    await have(account, ONE)
    other = FLEET.replace("hotel", "replica-1").replace("hospitality", "other")
    assert "is itself a replica, of hotel" in await problems(
        account, TWO.replace("replica-1", "replica-3"), other
    )
    account.instance("hotel").status = "stopped"
    assert "the primary hotel is stopped" in await problems(account)


@pytest.mark.parametrize(
    ("replica", "complaint"),
    [
        ('class = "db.z9.large"', "no class db.z9.large for this PostgreSQL in us-east-1"),
        (
            'zone = "us-east-1z"',
            "no db.r5.large in a zone us-east-1z; us-east-1 has it in us-east-1a, us-east-1b,",
        ),
        ('class = "db.r5.xlarge"\nzone = "us-east-1c"', "no db.r5.xlarge in a zone us-east-1c"),
    ],
)
async def test_an_unknown_class_or_zone(account: Account, replica: str, complaint: str) -> None:
    assert complaint in await problems(account, ONE + replica)


async def test_more_replicas_than_an_instance_may_have(account: Account) -> None:
    account.instance("hotel").replicas = [f"other-{number}" for number in range(14)]
    assert "has 14 replicas and may have 15, so 2 more do not fit" in await problems(account, TWO)
    assert await problems(account, ONE) == ""


async def test_a_replica_of_the_name_that_is_not_ours(account: Account) -> None:
    account.primary("elsewhere")
    account.replica("replica-1", "elsewhere")
    account.primary("replica-2")
    told = await problems(account, TWO)
    assert "replica replica-1: is a replica of elsewhere, not of hotel" in told
    assert "replica replica-2: is no replica" in told


async def test_one_made_by_hand_is_kept_and_never_changed(account: Account) -> None:
    account.replica("replica-1")
    made = provider(account)
    await apply(made, await plan_apply(made))
    assert "was not made by this file" in await problems(account, f'{ONE}class = "db.r5.xlarge"')
    assert (await plan_destroy(made)).steps == ()


@pytest.mark.parametrize(
    ("code", "says", "hint"),
    [
        ("ExpiredToken", "have expired", "aws sso login"),
        ("InvalidClientTokenId", "does not know these credentials", "AWS_PROFILE"),
        ("AccessDenied", "does not allow it: User is not authorized", "policy"),
    ],
)
async def test_credentials_that_do_not_do_are_named_by_the_plan(
    account: Account, code: str, says: str, hint: str
) -> None:
    account.faults.append(("*", code, "User is not authorized"))
    with pytest.raises(ProvisionError, match=says) as caught:
        await plan_apply(provider(account))
    assert hint in caught.value.hint
    assert ENVIRON["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


async def test_without_credentials_or_with_a_profile_that_is_not_there(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ENVIRON:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    for environ, says in (({}, "there are no AWS credentials"), ({"AWS_PROFILE": "nobody"}, "nobody")):
        declaration = parse_declaration(FLEET + ONE, Path("/fleet.toml"))
        with pytest.raises(ProvisionError, match=says):
            await plan_apply(open_provider(declaration, environ))


async def test_a_primary_or_a_region_that_is_not_there(account: Account) -> None:
    for fleet, says in (
        (FLEET.replace("hotel", "motel"), "there is no instance motel in us-east-1"),
        (FLEET.replace("us-east-1", "us-middle-7"), "AWS has no region us-middle-7"),
    ):
        with pytest.raises(ProvisionError, match=says):
            await plan_apply(provider(account, fleet=fleet))
    assert account.writes() == []


def test_every_wrong_value_is_told_at_once(account: Account) -> None:
    wrong = f"{ONE}monitoring_interval_s = 7\nmulti_az = 'yes'\niops = true\ntags = {{ pgfleet = 'x' }}\n"
    with pytest.raises(ConfigurationError) as caught:
        provider(account, wrong, FLEET.replace('"hotel"', "5"))
    told = "\n".join(caught.value.problems)
    for complaint in (
        "[primary] instance: is not a text",
        "write one of 0, 1, 5",
        "multi_az",
        "iops",
        "tag pgfleet",
    ):
        assert complaint in told
    assert len(caught.value.problems) == 5
    with pytest.raises(ConfigurationError, match=r"sizes.*means nothing"):
        provider(account, f"{ONE}sizes = 3")


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


async def test_what_cannot_be_changed_is_a_problem(account: Account) -> None:
    await have(account, FULL)
    assert "its zone is us-east-1b and stays so" in await problems(
        account, FULL.replace("us-east-1b", "us-east-1a")
    )


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


async def test_a_replica_that_fails_is_told_with_the_way_out(account: Account) -> None:
    account.replication = ("error", "the WAL is gone")
    made = provider(account)
    with pytest.raises(
        ProvisionError, match=r"its replication is error .the WAL is gone.; remove it: aws rds delete"
    ):
        await apply(made, await plan_apply(made))
    assert "its replication is error" in await problems(account)
    account.instance("replica-1").status = "incompatible-network"
    assert "is incompatible-network; start or mend it, or remove it: aws rds" in await problems(account)
    await apply(made, await plan_destroy(made))
    assert account.names() == ["hotel"]


async def test_quota_and_capacity_are_told_with_the_next_step(account: Account) -> None:
    account.quota = 1
    made = provider(account)
    with pytest.raises(ProvisionError, match=r"quota is used up.*InstanceQuotaExceeded") as caught:
        await apply(made, await plan_apply(made))
    assert "Service Quotas" in caught.value.hint


async def test_throttling_is_waited_out_and_told_when_it_stays(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", pauses.append)
    account.faults.extend([("CreateDBInstanceReadReplica", "Throttling", "Rate exceeded")] * 2)
    await have(account, ONE)
    assert len(pauses) == 2
    account.faults.extend([("DescribeDBInstances", "Throttling", "Rate exceeded")] * 4)
    with pytest.raises(ProvisionError, match=r"throttles the calls.*Rate exceeded"):
        await plan_apply(provider(account))


async def test_a_call_that_was_done_and_its_answer_lost_is_not_done_twice(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    lost = ("ServiceUnavailable", "nobody heard it")
    account.faults.append(("CreateDBInstanceReadReplica", *lost))
    await have(account, FULL)
    account.faults.append(("ModifyDBInstance", *lost))
    await have(account, FULL.replace("xlarge", "large"))
    made = provider(account)
    account.faults.append(("DeleteDBInstance", *lost))
    await apply(made, await plan_destroy(made))
    assert account.names() == ["hotel"]
    account.replica("replica-1", tags={"pgfleet": "hospitality"})
    account.faults.append(("PromoteReadReplica", *lost))
    await made.promote("replica-1", unheard)
    assert "ReadReplicaSourceDBInstanceIdentifier" not in facts("replica-1")


async def test_a_wait_that_takes_too_long_says_how_far_it_is(account: Account) -> None:
    made = provider(account, pace=Pace(poll_s=0.0, longest_s=0.0))
    with pytest.raises(ProvisionError, match="after 0 h it is creating") as caught:
        await apply(made, await plan_apply(made))
    assert "Give the same command again" in caught.value.hint
    (step,) = (await plan_apply(provider(account))).steps
    assert step.change.action is Action.FINISH
    assert step.commands[0].startswith("aws rds wait db-instance-available --region us-east-1")
    await have(account, ONE)


@pytest.mark.parametrize("moment", ["before-call", "after-call"])
async def test_an_apply_that_is_killed_at_any_call_is_completed_by_the_next(moment: str) -> None:
    """Before a call, and after it: done, but nobody was told."""
    calls = 0
    is_killed = True
    while is_killed:
        with rds_shim.account() as account:
            account.primary()
            is_killed = await _change_everything(account, moment, calls)
        calls += 1
    assert calls > 15


async def _change_everything(account: Account, moment: str, calls: int) -> bool:
    """One is to be made, one to be changed and one to go: killed after so many calls, and then once more in peace."""
    account.replica("replica-1", tags={"pgfleet": "hospitality"})
    account.replica("replica-9", tags={"pgfleet": "hospitality"})
    wanted = f'{ONE}class = "db.r5.xlarge"\n[[replica]]\nname = "replica-2"\n'
    made = provider(account, wanted)
    is_killed = await _killed(made, moment, calls)
    await have(account, wanted)
    assert account.names() == ["hotel", "replica-1", "replica-2"]
    assert sorted(facts("hotel")["ReadReplicaDBInstanceIdentifiers"]) == ["replica-1", "replica-2"]
    return is_killed


async def _killed(made: RdsProvider, moment: str, calls: int) -> bool:
    """Whether an apply was ended by the call after so many."""
    left = calls

    def kill(**_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    events = client(REGION).client.meta.events
    events.register(f"{moment}.rds", kill)
    try:
        await apply(made, await plan_apply(made))
    except (Killed, ProvisionError):
        return True
    finally:
        events.unregister(f"{moment}.rds", kill)
    return False


ABROAD = f'{ONE}region = "{FAR}"\n'


async def test_a_replica_in_another_region(account: Account) -> None:
    await have(account, ABROAD)
    call = next(body for operation, body in account.said if operation == "CreateDBInstanceReadReplica")
    assert call["SourceDBInstanceIdentifier"] == "arn:aws:rds:us-east-1:123456789012:db:hotel"
    assert call["PreSignedUrl"].startswith("https://rds.us-east-1.amazonaws.com")
    assert (account.names(), account.names(FAR)) == (["hotel"], ["replica-1"])
    assert f"its region is {FAR} and stays so" in await problems(account, ONE)
    await have(account, ONE.replace("replica-1", "replica-2"))
    assert account.names(FAR) == [], "found by the primary's list, though no replica is wanted there any more"


async def test_an_encrypted_primary_needs_a_key_of_the_other_region(account: Account) -> None:
    account.primary("sealed", StorageEncrypted=True)
    fleet = FLEET.replace("hotel", "sealed")
    assert f"write kms_key_id, a key of {FAR}" in await problems(account, ABROAD, fleet)
    assert await problems(account, f'{ABROAD}kms_key_id = "alias/hotel"', fleet) == ""


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


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({}, "DBInstanceAlreadyExists"),
        ({"DBInstanceIdentifier": "no--name"}, "InvalidParameterValue"),
        ({"DBInstanceIdentifier": "new", "DBInstanceClass": "db.z9.large"}, "InvalidParameterCombination"),
        ({"DBInstanceIdentifier": "new", "AvailabilityZone": "us-east-1z"}, "InvalidVPCNetworkStateFault"),
        ({"DBInstanceIdentifier": "new", "SourceDBInstanceIdentifier": "bare"}, "InvalidDBInstanceState"),
        ({"DBInstanceIdentifier": "new", "SourceDBInstanceIdentifier": "motel"}, "DBInstanceNotFound"),
        ({"DBInstanceIdentifier": "new", "SourceDBInstanceIdentifier": "full"}, "InstanceQuotaExceeded"),
    ],
)
def test_the_simulation_refuses_what_rds_refuses_and_moto_does_not(
    account: Account, said: dict[str, Any], code: str
) -> None:
    """Else nothing above would be worth much."""
    account.replica("there")
    account.primary("bare", BackupRetentionPeriod=0)
    account.primary("full")
    account.instance("full").replicas = ["another"] * 15
    asked = {"DBInstanceIdentifier": "there", "SourceDBInstanceIdentifier": "hotel"} | said
    with pytest.raises(ApiFailure) as caught:
        client(REGION).call("CreateDBInstanceReadReplica", **asked)
    assert caught.value.code == code


def test_the_simulation_takes_its_time(account: Account) -> None:
    api = client(REGION)
    api.call("CreateDBInstanceReadReplica", DBInstanceIdentifier="r", SourceDBInstanceIdentifier="hotel")
    seen = []
    while not (told := facts("r")).get("StatusInfos"):
        seen.append(told["DBInstanceStatus"])
    assert seen == ["creating", "backing-up", "available"]
    with pytest.raises(ApiFailure, match="is not a read replica"):
        api.call("PromoteReadReplica", DBInstanceIdentifier="hotel")
    api.call(
        "ModifyDBInstance", DBInstanceIdentifier="r", DBInstanceClass="db.r5.xlarge", ApplyImmediately=True
    )
    states = [
        (told["DBInstanceStatus"], told["DBInstanceClass"][6:]) for told in (facts("r") for _ in range(3))
    ]
    assert states == [("available", "large"), ("modifying", "large"), ("available", "xlarge")]
