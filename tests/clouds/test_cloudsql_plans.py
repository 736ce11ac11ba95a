"""What a plan of replicas at Google Cloud SQL refuses, before anything is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgfleet.errors import ConfigurationError, ProvisionError
from pgfleet.provision.cloudsql import open_provider
from pgfleet.provision.file import parse_declaration
from pgfleet.provision.plan import plan_apply, plan_destroy
from tests.clouds.cloudsql_fleet import FLEET, FULL, ONE, TWO, have, problems, provider, refusal
from tests.clouds.sqladmin import PROJECT, Project


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
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    assert f"Is a directory: '{tmp_path}'" in (await refusal(project)).message
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


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("http://example.com", "http://example.com is no https address"),
        ("localhost:8080", "localhost:8080 is no https address"),
        ("https://[::1", "the endpoint https://\\[::1 is no address"),
    ],
)
async def test_a_token_does_not_travel_in_clear(project: Project, endpoint: str, says: str) -> None:
    declaration = parse_declaration(
        FLEET.replace("[primary]", f'endpoint = "{endpoint}"\n[primary]') + ONE, Path("/fleet.toml")
    )
    with pytest.raises(ProvisionError, match=says):
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
    with pytest.raises(
        ConfigurationError, match=r"its flag a is \[1\]; write a text, a number, or true or false"
    ):
        provider(project, f"{ONE}flags = {{ a = [1] }}\n")


async def test_what_cannot_be_changed_is_a_problem(project: Project) -> None:
    await have(project, FULL)
    assert "its zone is us-central1-b and stays so" in await problems(
        project, FULL.replace("us-central1-b", "us-central1-a")
    )
