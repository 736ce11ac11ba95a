"""What RDS and Cloud SQL tell of their instances, as servers."""

from __future__ import annotations

from typing import Any

import pytest

from pgfleet.clouds import cloudsql, rds
from pgfleet.core.membership import Found
from pgfleet.discovery.clouds import of_cloud_sql, of_rds

ARN = "arn:aws:rds:eu-west-1:123456789012:db:hotel"


def at_rds(name: str, source: str = "", region: str = "eu-west-1", **more: Any) -> rds.Instance:
    facts = {
        "DBInstanceIdentifier": name,
        "DBInstanceArn": f"arn:aws:rds:{region}:123456789012:db:{name}",
        "DBInstanceStatus": "available",
        "Endpoint": {"Address": f"{name}.example", "Port": 5432},
        "AvailabilityZone": f"{region}a",
        "ReadReplicaSourceDBInstanceIdentifier": source,
    }
    return rds.Instance(facts | more, region)


def at_google(name: str, source: str = "", **more: Any) -> cloudsql.Instance:
    facts = {
        "name": name,
        "state": "RUNNABLE",
        "gceZone": "europe-west1-b",
        "ipAddresses": [
            {"type": "PRIMARY", "ipAddress": "34.0.0.1"},
            {"type": "PRIVATE", "ipAddress": "10.0.0.1"},
        ],
    }
    of_replica = (
        {"masterInstanceName": f"p:{source}", "instanceType": "READ_REPLICA_INSTANCE"} if source else {}
    )
    return cloudsql.Instance(facts | of_replica | more, "p")


def test_rds_names_the_replicas_and_the_source_which_takes_no_reads() -> None:
    found = of_rds(
        [at_rds("r-2", "hotel"), at_rds("hotel"), at_rds("r-1", "hotel"), at_rds("other")], "hotel"
    )
    assert found == (
        Found("hotel", "hotel.example", 5432, zone="eu-west-1a", takes_reads=False),
        Found("r-1", "r-1.example", 5432, zone="eu-west-1a"),
        Found("r-2", "r-2.example", 5432, zone="eu-west-1a"),
    )


@pytest.mark.parametrize(
    ("status", "is_there"),
    [
        ("available", True),
        ("backing-up", True),
        ("modifying", True),
        ("rebooting", True),
        ("creating", False),
        ("deleting", False),
        ("failed", False),
        ("stopped", False),
        ("something-new", False),
    ],
)
def test_rds_leaves_out_what_is_not_made(status: str, is_there: bool) -> None:
    assert bool(of_rds([at_rds("r", "hotel", DBInstanceStatus=status)], "hotel")) is is_there
    assert of_rds([at_rds("r", "hotel", Endpoint={})], "hotel") == ()


def test_rds_knows_replicas_of_another_region_by_the_arn_alone() -> None:
    abroad = at_rds("r", ARN, "us-east-1")
    namesake = at_rds("s", "hotel", "us-east-1")
    assert [one.name for one in of_rds([abroad, namesake], ARN)] == ["r"]
    assert [one.name for one in of_rds([abroad, namesake], "hotel")] == ["s"]
    assert [one.name for one in of_rds([at_rds("hotel"), at_rds("t", "hotel")], ARN)] == ["hotel", "t"]


def test_cloud_sql_names_addresses_of_the_kind_that_is_wished() -> None:
    instances = [at_google("r", "hotel"), at_google("hotel"), at_google("other")]
    assert of_cloud_sql(instances, "hotel", "", 5432) == (
        Found("hotel", "10.0.0.1", 5432, zone="europe-west1-b", takes_reads=False),
        Found("r", "10.0.0.1", 5432, zone="europe-west1-b"),
    )
    assert of_cloud_sql(instances, "hotel", "PRIMARY", 6432)[1].host == "34.0.0.1"
    without = [at_google("r", "hotel", ipAddresses=[{"type": "OUTGOING", "ipAddress": "34.0.0.9"}])]
    assert of_cloud_sql(without, "hotel", "", 5432) == ()


@pytest.mark.parametrize(
    ("facts", "is_there"),
    [
        ({}, True),
        ({"state": "MAINTENANCE"}, True),
        ({"state": "ONLINE_MAINTENANCE"}, True),
        ({"state": "PENDING_CREATE"}, False),
        ({"state": "PENDING_DELETE"}, False),
        ({"state": "FAILED"}, False),
        ({"state": "SUSPENDED"}, False),
        ({"instanceType": "READ_POOL_INSTANCE"}, False),
        ({"settings": {"activationPolicy": "NEVER"}}, False),
        ({"settings": {"databaseReplicationEnabled": False}}, False),
    ],
)
def test_cloud_sql_leaves_out_what_is_not_made(facts: dict[str, Any], is_there: bool) -> None:
    assert bool(of_cloud_sql([at_google("r", "hotel", **facts)], "hotel", "", 5432)) is is_there
