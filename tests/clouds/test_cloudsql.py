"""Read replicas at Google Cloud SQL, from a file to the last deletion, on a server held to the published API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgfleet.clouds.google import SqlAdmin
from pgfleet.core.changes import Action
from pgfleet.errors import ConfigurationError, ProvisionError
from pgfleet.provision.apply import apply
from pgfleet.provision.cloudsql import open_provider
from pgfleet.provision.cloudsql.provider import CloudSqlProvider
from pgfleet.provision.file import parse_declaration
from pgfleet.provision.managed.pace import Pace
from pgfleet.provision.plan import plan_apply, plan_destroy
from tests.clouds.sqladmin import PROJECT, TOKEN, Project
from tests.clouds.sqladmin_model import Refused, check, document
from tests.clouds.sqladmin_server import credentials, serving
from tests.docs.pages import ROOT

AT_ONCE = Pace(poll_s=0.0, longest_s=60.0)
FLEET = f"""
[fleet]
name = "hospitality"
[provider]
kind = "cloudsql"
project = "{PROJECT}"
[primary]
instance = "hotel"
"""
ONE = '[[replica]]\nname = "replica-1"\n'
TWO = f'{ONE}[[replica]]\nname = "replica-2"\n'
FULL = """
[[replica]]
name = "replica-1"
class = "db-n1-standard-4"
zone = "us-central1-b"
tags = { role = "read-replica", environment = "production" }
availability = "regional"
flags = { max_connections = 500, log_connections = true }
"""


class Killed(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def server() -> Iterator[Project]:
    with serving() as project:
        yield project


@pytest.fixture
def project(server: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    server.empty()
    server.primary()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials(tmp_path / "key.json", server)))
    return server


def provider(
    project: Project, replicas: str = "", fleet: str = FLEET, pace: Pace = AT_ONCE
) -> CloudSqlProvider:
    declaration = parse_declaration(fleet + (replicas or ONE), Path("/fleet.toml"))
    open_provider(declaration, {})  # which tells what is wrong with the values
    return CloudSqlProvider(declaration, {}, pace, lambda: api(project))


def api(project: Project) -> SqlAdmin:
    return SqlAdmin(PROJECT, {}, endpoint=project.endpoint, pauses_s=(0.0, 0.0))


async def have(project: Project, replicas: str, fleet: str = FLEET) -> None:
    """Apply, and see that nothing is left to do."""
    made = provider(project, replicas, fleet)
    await apply(made, await plan_apply(made))
    again = await plan_apply(made)
    assert (again.problems, again.steps) == ((), ())
    await made.close()


async def problems(project: Project, replicas: str = ONE, fleet: str = FLEET) -> str:
    """What a plan complains of, which has changed nothing."""
    before = project.writes()
    made = provider(project, replicas, fleet)
    plan = await plan_apply(made)
    await made.close()
    assert project.writes() == before
    return "\n".join(plan.problems)


async def refusal(project: Project, replicas: str = ONE, fleet: str = FLEET) -> ProvisionError:
    """What a plan, or the apply of it, ends with."""
    made = provider(project, replicas, fleet)
    with pytest.raises(ProvisionError) as caught:
        await apply(made, await plan_apply(made))
    await made.close()
    assert TOKEN not in str(caught.value)
    return caught.value


def unheard(_: str) -> None:
    pass


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


@pytest.mark.parametrize(
    ("facts", "settings", "complaint"),
    [
        ({"databaseVersion": "MYSQL_8_0"}, {}, "runs MYSQL_8_0"),
        ({"state": "SUSPENDED"}, {}, "is SUSPENDED"),
        ({"masterInstanceName": "first"}, {}, "is itself a replica, of first"),
        (
            {},
            {"activationPolicy": "NEVER"},
            "is stopped; gcloud sql instances patch hotel --project=hotel-project --activation-policy=ALWAYS",
        ),
        (
            {},
            {"connectorEnforcement": "REQUIRED", "ipConfiguration": {"privateNetwork": "n"}},
            "lets connectors in only",
        ),
    ],
)
async def test_a_primary_that_can_have_no_replicas(
    project: Project, facts: dict[str, Any], settings: dict[str, Any], complaint: str
) -> None:
    project.primary(settings=settings, **facts)
    assert complaint in await problems(project)


@pytest.mark.parametrize(
    ("replica", "complaint"),
    [
        ('class = "db-n9-standard-4"', "Cloud SQL has no tier db-n9-standard-4"),
        (
            'class = "db-perf-optimized-N-2"\nregion = "europe-west1"',
            "no db-perf-optimized-N-2 in europe-west1",
        ),
        ('region = "europe-west9"', "Cloud SQL has no region europe-west9"),
        ('zone = "europe-west1-b"', "the zone europe-west1-b is not in us-central1"),
        ('zone = "us-central1-z"', "there is no zone us-central1-z"),
        ("flags = { max_connections = 50 }", "its max_connections is 50 and the primary's 100"),
    ],
)
async def test_what_the_project_does_not_have(project: Project, replica: str, complaint: str) -> None:
    project.primary(settings={"databaseFlags": [{"name": "max_connections", "value": "100"}]})
    assert complaint in await problems(project, ONE + replica)


async def test_a_zone_that_nobody_may_ask_about_is_left_to_cloud_sql(project: Project) -> None:
    project.faults.append(("zones.get", 403, "forbidden"))
    assert await problems(project, f'{ONE}zone = "us-central1-z"') == ""
    project.faults.append(("zones.get", 403, "forbidden"))
    assert "Invalid zone" in (await refusal(project, f'{ONE}zone = "us-central1-z"')).message


async def test_a_replica_of_the_name_that_is_not_ours(project: Project) -> None:
    project.primary("elsewhere")
    project.replica("replica-1", "elsewhere", {"pgfleet": "hospitality"})
    project.primary("replica-2")
    told = await problems(project, TWO)
    assert "replica replica-1: is a replica of elsewhere, not of hotel" in told
    assert "replica replica-2: is no replica" in told
    made = provider(project)
    assert (await plan_destroy(made)).steps == ()
    await made.close()


@pytest.mark.parametrize(
    ("facts", "settings", "complaint"),
    [
        ({"state": "FAILED"}, {}, "is FAILED; mend it, or remove it: gcloud sql instances delete replica-1"),
        ({"state": "PENDING_DELETE"}, {}, "is being deleted"),
        ({"instanceType": "READ_POOL_INSTANCE"}, {}, "is a READ_POOL_INSTANCE"),
        ({}, {"activationPolicy": "NEVER"}, "is stopped"),
        (
            {},
            {"databaseReplicationEnabled": False},
            "does not replicate; gcloud sql instances patch replica-1 --project=hotel-project",
        ),
    ],
)
async def test_a_replica_that_cannot_serve(
    project: Project, facts: dict[str, Any], settings: dict[str, Any], complaint: str
) -> None:
    project.replica("replica-1", tags={"pgfleet": "hospitality"})
    project.instances["replica-1"] |= facts
    project.instances["replica-1"]["settings"] |= settings
    assert complaint in await problems(project)


async def test_one_made_by_hand_is_kept_and_never_changed(project: Project) -> None:
    project.replica("replica-1")
    await have(project, ONE)
    assert "was not made by this file" in await problems(project, f'{ONE}class = "db-n1-standard-4"')
    assert project.writes() == []


async def test_credentials_that_do_not_do_are_named_by_the_plan(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.tokens.clear()
    error = await refusal(project)
    assert "does not accept the credentials" in error.message
    assert "gcloud auth application-default login" in error.hint
    project.is_revoked = True
    assert "have expired, or were revoked" in (await refusal(project)).message
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    assert "there are no Google credentials" in (await refusal(project)).message
    assert project.writes() == []


@pytest.mark.parametrize(
    ("status", "reason", "says", "hint"),
    [
        (403, "accessNotConfigured", "Admin API is off", "gcloud services enable sqladmin.googleapis.com"),
        (403, "notAuthorized", "does not allow it", "role"),
    ],
)
async def test_what_the_project_does_not_allow(
    project: Project, status: int, reason: str, says: str, hint: str
) -> None:
    project.faults.append(("instances.list", status, reason))
    error = await refusal(project)
    assert says in error.message
    assert hint in error.hint


async def test_a_primary_that_is_not_there(project: Project) -> None:
    error = await refusal(project, fleet=FLEET.replace('hotel"', 'motel"'))
    assert error.message == "there is no instance motel in the project hotel-project"


async def test_a_token_does_not_travel_in_clear(project: Project) -> None:
    declaration = parse_declaration(
        FLEET.replace("[primary]", 'endpoint = "http://example.com"\n[primary]') + ONE, Path("/fleet.toml")
    )
    with pytest.raises(ProvisionError, match="is no https address"):
        await plan_apply(open_provider(declaration, {}))


def test_every_wrong_value_is_told_at_once(project: Project) -> None:
    wrong = (
        f"{ONE}availability = 'both'\npublic_ip = 1\nflags = 'x'\ntags = {{ Role = 'x', pgfleet = 'y' }}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        provider(project, wrong, FLEET.replace('instance = "hotel"', "").replace(f'"{PROJECT}"', "5"))
    told = "\n".join(caught.value.problems)
    for complaint in (
        "[primary] instance: is not set",
        "[provider] project: is not a text",
        "zonal or regional",
    ):
        assert complaint in told
    for complaint in ("public_ip", "flags", "its label Role", "its label pgfleet"):
        assert complaint in told
    assert len(caught.value.problems) == 7


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


async def test_what_cannot_be_changed_is_a_problem(project: Project) -> None:
    await have(project, FULL)
    assert "its zone is us-central1-b and stays so" in await problems(
        project, FULL.replace("us-central1-b", "us-central1-a")
    )


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


async def test_an_operation_that_fails_is_told(project: Project) -> None:
    project.failures.append(("INTERNAL_ERROR", "the disk of the replica is broken"))
    error = await refusal(project)
    assert "the disk of the replica is broken (INTERNAL_ERROR)" in error.message
    assert "is FAILED" in await problems(project)


async def test_quota_and_preconditions_are_told_with_the_next_step(project: Project) -> None:
    project.quota = 1
    error = await refusal(project)
    assert "the project's quota is used up" in error.message
    assert "Quotas" in error.hint
    project.faults.append(("instances.insert", 412, "failedPrecondition"))
    assert "is in no state for it" in (await refusal(project)).message


@pytest.mark.parametrize(("status", "reason"), [(429, "x"), (403, "rateLimitExceeded"), (503, "x"), (0, "")])
async def test_a_call_that_was_throttled_or_lost_is_made_again(
    project: Project, status: int, reason: str
) -> None:
    project.faults.extend([("instances.insert", status, reason)] * 2)
    await have(project, ONE)
    project.faults.extend([("instances.list", status, reason)] * 3)
    assert re.search("throttles|answers 503|does not answer", (await refusal(project)).message)


async def test_a_call_that_was_done_and_its_answer_lost_is_not_done_twice(project: Project) -> None:
    project.faults.append(("instances.insert", -1, ""))
    await have(project, ONE)
    assert project.methods["instances.insert"] == 2, "the second was refused: it is there already"
    project.faults.append(("instances.patch", -1, ""))
    await have(project, f'{ONE}class = "db-n1-standard-4"')
    made = provider(project)
    project.faults.append(("instances.delete", -1, ""))
    await apply(made, await plan_destroy(made))
    assert sorted(project.instances) == ["hotel"]
    project.replica("replica-2", tags={"pgfleet": "hospitality"})
    project.faults.append(("instances.promoteReplica", -1, ""))
    await made.promote("replica-2", unheard)
    await made.close()
    assert "masterInstanceName" not in project.instances["replica-2"]


async def test_a_wait_that_takes_too_long_says_how_far_it_is(project: Project) -> None:
    project.looks = 2
    made = provider(project, pace=Pace(poll_s=0.0, longest_s=0.0))
    with pytest.raises(ProvisionError, match="after 0 h it is still in its operation") as caught:
        await apply(made, await plan_apply(made))
    assert "Give the same command again" in caught.value.hint
    (step,) = (await plan_apply(made)).steps
    assert step.change.action is Action.FINISH
    await made.close()
    await have(project, ONE)


@pytest.mark.parametrize("is_done", [False, True])
async def test_an_apply_that_is_killed_at_any_call_is_completed_by_the_next(
    project: Project, is_done: bool
) -> None:
    """Before a call, and after it: done, but nobody was told."""
    calls = 0
    while await _change_everything(project, calls, is_done):
        calls += 1
    assert calls > 15


async def _change_everything(project: Project, calls: int, is_done: bool) -> bool:
    """One is to be made, one to be changed and one to go: killed after so many calls, and then once more in peace."""
    project.empty()
    project.primary()
    for name in ("replica-1", "replica-9"):
        project.replica(name, tags={"pgfleet": "hospitality"})
    wanted = f'{ONE}class = "db-n1-standard-4"\n[[replica]]\nname = "replica-2"\n'
    is_killed = await _killed(project, wanted, calls, is_done)
    await have(project, wanted)
    assert sorted(project.instances) == ["hotel", "replica-1", "replica-2"]
    assert sorted(project.instances["hotel"]["replicaNames"]) == ["replica-1", "replica-2"]
    return is_killed


async def _killed(project: Project, wanted: str, calls: int, is_done: bool) -> bool:
    """Whether an apply was ended at the call after so many."""
    left = calls
    made = provider(project, wanted)
    opened: Any = made._api()
    once = opened._once

    def kill(*args: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            if is_done:
                once(*args)
            raise Killed
        return once(*args)

    opened._once = kill
    try:
        await apply(made, await plan_apply(made))
    except (Killed, ProvisionError):
        return True
    finally:
        await made.close()
    return False


def test_the_server_refuses_what_the_published_model_refuses() -> None:
    """Else nothing above would be worth much."""
    schema = {"$ref": "DatabaseInstance"}
    for body, says in (
        ({"setings": {}}, "Unknown name"),
        ({"settings": {"tier": 5}}, "no string"),
        ({"settings": {"availabilityType": "zonal"}}, "no value 'zonal'"),
        ({"settings": {"settingsVersion": "one"}}, "no int64"),
        ({"settings": {"userLabels": {"a": True}}}, "no string"),
        ({"settings": {"databaseFlags": {"a": "b"}}}, "no array"),
        ({"createTime": "now"}, "output only"),
    ):
        with pytest.raises(Refused) as caught:
            check(body, schema, "body", is_request=True)
        assert says in str(caught.value.body)


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
