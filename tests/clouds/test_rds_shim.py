"""The simulation of Amazon RDS refuses what RDS refuses, and takes its time."""

from __future__ import annotations

from typing import Any

import pytest

from pgfleet.clouds.failure import ApiFailure
from tests.clouds.rds_account import REGION, Account, client
from tests.clouds.rds_fleet import facts


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
