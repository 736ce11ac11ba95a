"""What a plan of replicas at Amazon RDS refuses, before anything is changed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from pgfleet.errors import ConfigurationError, ProvisionError
from pgfleet.provision.file import parse_declaration
from pgfleet.provision.plan import plan_apply
from pgfleet.provision.rds import open_provider
from tests.clouds.rds_account import ENVIRON, FAR, Account
from tests.clouds.rds_fleet import ABROAD, FLEET, FULL, ONE, TWO, have, problems, provider


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
    anywhere = FLEET.replace('region = "us-east-1"\n', "")
    for fleet, environ, says in (
        (FLEET, {}, "there are no AWS credentials"),
        (FLEET, {"AWS_PROFILE": "nobody"}, "nobody"),
        (anywhere, {"AWS_PROFILE": "nobody"}, "nobody"),
        (anywhere, {}, "no AWS region is named"),
    ):
        declaration = parse_declaration(fleet + ONE, Path("/fleet.toml"))
        with pytest.raises(ProvisionError, match=says):
            await plan_apply(open_provider(declaration, environ))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ENVIRON["AWS_ACCESS_KEY_ID"])
    with pytest.raises(ProvisionError, match=r"no AWS credentials.*missing: AWS_SECRET_ACCESS_KEY"):
        await plan_apply(open_provider(parse_declaration(FLEET + ONE, Path("/fleet.toml")), os.environ))


async def test_a_primary_or_a_region_that_is_not_there(account: Account) -> None:
    for fleet, says in (
        (FLEET.replace("hotel", "motel"), "there is no instance motel in us-east-1"),
        (FLEET.replace("us-east-1", "us-middle-7"), "AWS has no region us-middle-7"),
    ):
        with pytest.raises(ProvisionError, match=says):
            await plan_apply(provider(account, fleet=fleet))
    assert account.writes() == []


async def test_an_endpoint_that_is_no_address() -> None:
    fleet = FLEET.replace("[primary]", 'endpoint = "localhost:8080"\n[primary]')
    declaration = parse_declaration(fleet + ONE, Path("/fleet.toml"))
    with pytest.raises(
        ProvisionError, match="AWS cannot be asked so: Invalid endpoint: localhost:8080"
    ) as caught:
        await plan_apply(open_provider(declaration, ENVIRON))
    assert caught.value.hint == "Check the names and values that were given."


def test_every_wrong_value_is_told_at_once(account: Account) -> None:
    wrong = f"{ONE}monitoring_interval_s = 7\nmulti_az = 'yes'\niops = true\ntags = {{ pgfleet = 'x' }}\n"
    wrong += "security_groups = [1]\n"
    with pytest.raises(ConfigurationError) as caught:
        provider(account, wrong, FLEET.replace('"hotel"', "5"))
    told = "\n".join(caught.value.problems)
    for complaint in (
        "[primary] instance: is not a text",
        "write one of 0, 1, 5",
        "multi_az",
        "iops",
        "tag pgfleet",
        "its security_groups is [1]; write a list of texts",
    ):
        assert complaint in told
    assert len(caught.value.problems) == 6
    with pytest.raises(ConfigurationError, match=r"sizes.*means nothing"):
        provider(account, f"{ONE}sizes = 3")


async def test_what_cannot_be_changed_is_a_problem(account: Account) -> None:
    await have(account, FULL)
    assert "its zone is us-east-1b and stays so" in await problems(
        account, FULL.replace("us-east-1b", "us-east-1a")
    )


async def test_an_encrypted_primary_needs_a_key_of_the_other_region(account: Account) -> None:
    account.primary("sealed", StorageEncrypted=True)
    fleet = FLEET.replace("hotel", "sealed")
    assert f"write kms_key_id, a key of {FAR}" in await problems(account, ABROAD, fleet)
    assert await problems(account, f'{ABROAD}kms_key_id = "alias/hotel"', fleet) == ""
