"""Read replicas at Google Cloud SQL, from a file to the last deletion, on a server held to the published API."""

from __future__ import annotations

import re

import pytest

from pgfleet.errors import ProvisionError
from pgfleet.provision.apply import apply
from pgfleet.provision.plan import plan_apply, plan_destroy
from tests.clouds.applying import unheard
from tests.clouds.cloudsql_fleet import FULL, ONE, TWO, have, problems, provider, refusal
from tests.clouds.sqladmin import Project
from tests.clouds.sqladmin_model import document
from tests.docs.pages import ROOT


async def test_a_replica_is_made_as_it_is_wished(project: Project) -> None:
    await have(project, FULL)
    made = project.instances["replica-1"]
    settings = made["settings"]
    assert (made["state"], made["instanceType"], made["gceZone"]) == (
        "RUNNABLE",
        "READ_REPLICA_INSTANCE",
        "us-central1-b",
    )
    assert (settings["tier"], settings["availabilityType"]) == ("db-n1-standard-4", "REGIONAL")
    assert settings["userLabels"] == {
        "pgfleet": "hospitality",
        "role": "read-replica",
        "environment": "production",
    }
    assert settings["databaseFlags"] == [
        {"name": "log_connections", "value": "on"},
        {"name": "max_connections", "value": "500"},
    ]


async def test_what_is_not_said_is_as_the_primary_s(project: Project) -> None:
    network = "projects/hotel-project/global/networks/default"
    project.instances["hotel"]["settings"]["ipConfiguration"] |= {
        "ipv4Enabled": False,
        "privateNetwork": network,
    }
    await have(project, ONE)
    settings = project.instances["replica-1"]["settings"]
    assert (settings["tier"], settings["edition"]) == ("db-custom-4-15360", "ENTERPRISE")
    assert settings["ipConfiguration"] == {
        "ipv4Enabled": False,
        "privateNetwork": network,
        "sslMode": "ENCRYPTED_ONLY",
    }


async def test_two_at_once_although_the_primary_takes_one_operation_at_a_time(project: Project) -> None:
    project.waits_for_refusal = True
    await have(project, TWO)
    assert project.refusals, "the second was refused until the first was done"
    made = provider(project, TWO)
    assert [(one.name, one.host, one.port) for one in await made.endpoints()] == [
        ("primary", "34.0.0.1", 5432),
        ("replica-1", "34.0.0.2", 5432),
        ("replica-2", "34.0.0.3", 5432),
    ]
    await made.close()


async def test_progress_is_told(project: Project) -> None:
    made = provider(project)
    told: list[str] = []
    for step in (await plan_apply(made)).steps:
        await made.carry_out(step.change, told.append)
    await made.close()
    assert told == ["CREATE_REPLICA PENDING", "CREATE_REPLICA RUNNING"]


async def test_one_made_by_hand_is_kept_and_never_changed(project: Project) -> None:
    project.replica("replica-1")
    await have(project, ONE)
    assert "was not made by this file" in await problems(project, f'{ONE}class = "db-n1-standard-4"')
    assert project.writes() == []


async def test_changes_are_made_as_one_and_waited_for(project: Project) -> None:
    await have(project, FULL)
    changed = FULL.replace("db-n1-standard-4", "db-custom-8-30720").replace("production", "test")
    changed = changed.replace("500", "600").replace("regional", "zonal")
    made = provider(project, changed)
    (step,) = (await plan_apply(made)).steps
    assert "class db-n1-standard-4 -> db-custom-8-30720" in step.title
    assert step.commands[0] == (
        "gcloud beta sql instances patch replica-1 --project=hotel-project --quiet --tier=db-custom-8-30720"
        " --availability-type=ZONAL --update-labels=environment=test"
        " --database-flags=log_connections=on,max_connections=600"
    )
    await made.carry_out(step.change, unheard)
    await made.close()
    assert project.instances["replica-1"]["settings"]["tier"] == "db-custom-8-30720", "it is when it says so"
    await have(project, changed)
    assert [method for method, _ in project.writes()] == ["instances.insert", "instances.patch"]
    assert project.instances["replica-1"]["settings"]["userLabels"]["role"] == "read-replica"


async def test_a_change_does_not_undo_another_s_flags(project: Project) -> None:
    await have(project, FULL)
    project.instances["replica-1"]["settings"]["databaseFlags"].append({"name": "log_locks", "value": "on"})
    await have(project, FULL.replace("500", "600"))
    flags = project.instances["replica-1"]["settings"]["databaseFlags"]
    assert {flag["name"]: flag["value"] for flag in flags} == {
        "log_connections": "on",
        "log_locks": "on",
        "max_connections": "600",
    }


async def test_destroy_removes_ours_and_nothing_else(project: Project) -> None:
    await have(project, TWO)
    project.replica("replica-3")
    project.replica("replica-4", tags={"pgfleet": "another"})
    await have(project, ONE)
    assert sorted(project.instances) == ["hotel", "replica-1", "replica-3", "replica-4"], "one left the file"
    made = provider(project)
    await apply(made, await plan_destroy(made))
    await made.close()
    assert sorted(project.instances) == ["hotel", "replica-3", "replica-4"]
    assert "deleted in the last week" in (await refusal(project)).message


async def test_what_is_protected_or_has_replicas_is_not_removed(project: Project) -> None:
    await have(project, ONE)
    there = project.instances["replica-1"]
    for facts, says in (
        ({"replicaNames": ["x"]}, "has replicas of its own: x"),
        ({}, "is protected against"),
    ):
        there |= {"replicaNames": []} | facts
        there["settings"]["deletionProtectionEnabled"] = not facts
        made = provider(project)
        with pytest.raises(ProvisionError, match=says):
            await apply(made, await plan_destroy(made))
        await made.close()


async def test_what_was_ours_when_it_was_planned_is_looked_at_again(project: Project) -> None:
    await have(project, ONE)
    made = provider(project)
    plan = await plan_destroy(made)
    project.instances["replica-1"]["settings"]["userLabels"] = {}
    with pytest.raises(ProvisionError, match="was not made by this file"):
        await apply(made, plan)
    await made.close()
    assert sorted(project.instances) == ["hotel", "replica-1"]


async def test_a_promoted_replica_is_left_alone(project: Project) -> None:
    await have(project, TWO)
    made = provider(project, TWO)
    await made.promote("replica-1", unheard)
    assert project.instances["replica-1"]["instanceType"] == "CLOUD_SQL_INSTANCE"
    assert "replica replica-1: is no replica, it was promoted" in await problems(project, TWO)
    await apply(made, await plan_destroy(made))
    assert sorted(project.instances) == ["hotel", "replica-1"]
    with pytest.raises(ProvisionError, match="is no replica of hotel any more"):
        await made.promote("replica-1", unheard)
    await made.close()


async def test_whom_nobody_knows_is_not_promoted(project: Project) -> None:
    await have(project, ONE)
    made = provider(project)
    for name in ("replica-7", "hotel"):
        with pytest.raises(ProvisionError, match=f"there is no replica {name} of hotel") as caught:
            await made.promote(name, unheard)
        assert "replica-1" in caught.value.hint
    await made.close()


PERMISSIONS = {
    "instances.list": "cloudsql.instances.list",
    "instances.get": "cloudsql.instances.get",
    "instances.insert": "cloudsql.instances.create",
    "instances.patch": "cloudsql.instances.update",
    "instances.delete": "cloudsql.instances.delete",
    "instances.promoteReplica": "cloudsql.instances.promoteReplica",
    "operations.get": "cloudsql.instances.get",
    "tiers.list": "cloudsql.instances.list",
    "zones.get": "compute.zones.get",
}
"""What Google asks of those who call a method."""


async def test_the_role_of_the_guide_allows_what_is_asked_and_no_more(project: Project) -> None:
    await have(project, FULL)
    await have(project, FULL.replace("500", "600") + ONE.replace("-1", "-2"))
    made = provider(project, TWO)
    await made.promote("replica-1", unheard)
    await apply(made, await plan_destroy(made))
    await made.close()
    page = (ROOT / "docs/guides/cloud-sql.md").read_text()
    assert set(re.findall(r"(?:cloudsql|compute)\.\w+\.\w+", page)) == {
        PERMISSIONS[method] for method in project.methods
    }
    assert document()["revision"]
