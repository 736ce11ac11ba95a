"""Each command that a plan shows says what the call says, in words that the tool knows."""

from __future__ import annotations

import shlex
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.model import OperationModel

from pgfleet.clouds.cloudsql import Instance as SqlInstance
from pgfleet.clouds.rds import Instance
from pgfleet.core.changes import Difference
from pgfleet.provision.cloudsql import commands
from pgfleet.provision.cloudsql.settings import alteration, creation
from pgfleet.provision.declaration import WantedReplica
from pgfleet.provision.rds import calls

SOURCE = Instance(
    {"DBInstanceIdentifier": "hotel", "DBInstanceArn": "arn:aws:rds:eu-west-1:123456789012:db:hotel"},
    "eu-west-1",
)
REPLICA = WantedReplica(
    "replica-1",
    "us-east-1a",
    "db.r5.xlarge",
    {"Role": "read replica", "plain": "x", "hard": "a,b=c \"d\" 'e' \\f"},
    options={
        "parameter_group": "pg16",
        "monitoring_interval_s": 30,
        "monitoring_role_arn": "arn:aws:iam::123456789012:role/monitoring",
        "performance_insights": True,
        "multi_az": False,
        "storage_type": "gp3",
        "iops": 3000,
        "max_allocated_storage_gb": 1000,
        "security_groups": ["sg-1", "sg-2"],
        "subnet_group": "private",
        "kms_key_id": "alias/hotel",
    },
)
DIFFERENCES = [
    Difference(name, "", "") for name in ("class", "tag hard", "performance_insights", "security_groups")
]
CALLS = [
    calls.creation("hospitality", REPLICA, "eu-west-1", SOURCE),
    calls.creation("hospitality", REPLICA, "us-east-1", SOURCE),
    *calls.alteration(REPLICA, SOURCE, DIFFERENCES),
    calls.removal("replica-1", "eu-west-1"),
    calls.promotion("replica-1", "eu-west-1"),
    calls.with_backups(SOURCE),
    calls.restart("replica-1", "eu-west-1"),
]
MODEL = botocore.session.get_session().get_service_model("rds")


def read_by_aws(line: str, model: OperationModel) -> dict[str, Any]:
    """A command line as the AWS command line interface reads it, from the same model."""
    members = {xform_name(name, "-"): (name, shape) for name, shape in model.input_shape.members.items()}
    words = shlex.split(line)
    said: dict[str, Any] = {}
    assert words[:3] == ["aws", "rds", xform_name(model.name, "-")]
    assert words[3] == "--region"
    for word in words[5:]:
        option = word.removeprefix("--")
        if word.startswith("--"):
            is_off = option not in members
            name, shape = members[option.removeprefix("no-") if is_off else option]
            assert shape.type_name == "boolean" or not is_off
            said[name] = not is_off if shape.type_name == "boolean" else []
        else:
            said[name].append(word)
    return {name: _value(value, model.input_shape.members[name]) for name, value in said.items()}


def _value(said: Any, shape: Any) -> Any:
    if shape.type_name == "boolean":
        return said
    if shape.type_name == "list":
        return [_item(word) for word in said] if shape.member.type_name == "structure" else said
    return int(said[0]) if shape.type_name == "integer" else said[0]


def _item(word: str) -> dict[str, str]:
    """`Key=Role,Value="read replica"`, with a backslash before a quote or another."""
    key, _, value = word.removeprefix("Key=").partition(",Value=")
    if value.startswith('"'):
        value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return {"Key": key, "Value": value}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.operation)
def test_an_aws_command_says_what_the_call_says(call: calls.Call) -> None:
    assert read_by_aws(str(call), MODEL.operation_model(call.operation)) == call.parameters


def test_a_replica_is_not_public_in_the_words_that_aws_takes() -> None:
    """`--publicly-accessible false`, which is found in guides, is refused: `Unknown options: false`."""
    assert " --no-publicly-accessible " in str(CALLS[0])


OF_CLOUD_SQL = WantedReplica(
    "replica-1",
    "us-central1-b",
    "db-n1-standard-4",
    {"role": "read"},
    options={"availability": "regional", "flags": {"log_connections": True, "search_path": "a,b"}},
)
PRIMARY = SqlInstance(
    {
        "name": "hotel",
        "region": "us-central1",
        "databaseVersion": "POSTGRES_16",
        "settings": {
            "edition": "ENTERPRISE_PLUS",
            "ipConfiguration": {"ipv4Enabled": False, "privateNetwork": "projects/p/global/networks/n"},
        },
    },
    "p",
)


def test_gcloud_commands() -> None:
    body = creation("hospitality", OF_CLOUD_SQL, "", PRIMARY)
    assert commands.creation("p", body) == (
        "gcloud beta sql instances create replica-1 --project=p --master-instance-name=hotel --region=us-central1"
        " --tier=db-n1-standard-4 --availability-type=REGIONAL --edition=enterprise-plus --zone=us-central1-b"
        " --no-assign-ip --network=projects/p/global/networks/n --labels=pgfleet=hospitality,role=read"
        " '--database-flags=^~^log_connections=on~search_path=a,b'"
    )
    changed = alteration(OF_CLOUD_SQL, PRIMARY, {"class", "label role"})
    assert commands.alteration("p", "replica-1", changed) == (
        "gcloud beta sql instances patch replica-1 --project=p --quiet --tier=db-n1-standard-4"
        " --update-labels=role=read"
    )
    assert commands.removal("p", "r") == "gcloud sql instances delete r --project=p --quiet"
    assert commands.patch(PRIMARY, commands.START) == (
        "gcloud sql instances patch hotel --project=p --activation-policy=ALWAYS"
    )
    assert commands.promotion("p", "r") == "gcloud sql instances promote-replica r --project=p --quiet"
