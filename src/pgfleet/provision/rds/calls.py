"""A change as calls of the API: carried out, and shown as commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pgfleet.clouds.aws import command_line
from pgfleet.clouds.rds import Instance
from pgfleet.core.changes import Difference
from pgfleet.provision.declaration import WantedReplica
from pgfleet.provision.managed.instance import MARK
from pgfleet.provision.rds.settings import TAG, parameters, wishes


class Call(NamedTuple):
    """One operation in one region."""

    region: str
    operation: str
    parameters: Mapping[str, Any]

    def __str__(self) -> str:
        return command_line(self.region, self.operation, self.parameters)


def creation(fleet: str, replica: WantedReplica, region: str, source: Instance) -> Call:
    """What makes a replica."""
    is_near = region == source.region
    said: dict[str, Any] = {
        "DBInstanceIdentifier": replica.name,
        "SourceDBInstanceIdentifier": source.name if is_near else source.arn,
    }
    if not is_near:
        said["SourceRegion"] = source.region
    said |= parameters(wishes(replica))
    return Call(region, "CreateDBInstanceReadReplica", said | {"Tags": _tags({MARK: fleet, **replica.tags})})


def alteration(replica: WantedReplica, instance: Instance, differences: Iterable[Difference]) -> list[Call]:
    """What makes an instance as it is wanted: its tags, then the rest at once."""
    names = [difference.attribute for difference in differences]
    tags = {
        name.removeprefix(TAG): replica.tags[name.removeprefix(TAG)] for name in names if name.startswith(TAG)
    }
    rest = {name: value for name, value in wishes(replica).items() if name in names}
    calls = []
    if tags:
        named: dict[str, Any] = {"ResourceName": instance.arn, "Tags": _tags(tags)}
        calls.append(Call(instance.region, "AddTagsToResource", named))
    if rest:
        said = {"DBInstanceIdentifier": replica.name, **parameters(rest), "ApplyImmediately": True}
        calls.append(Call(instance.region, "ModifyDBInstance", said))
    return calls


def removal(name: str, region: str) -> Call:
    """What deletes a replica. RDS makes no last snapshot of one."""
    return Call(region, "DeleteDBInstance", {"DBInstanceIdentifier": name, "SkipFinalSnapshot": True})


def promotion(name: str, region: str) -> Call:
    """What makes a replica an instance of its own."""
    return Call(region, "PromoteReadReplica", {"DBInstanceIdentifier": name})


def with_backups(source: Instance) -> Call:
    """What makes an instance keep the backups that replicas are made from."""
    said = {"DBInstanceIdentifier": source.name, "BackupRetentionPeriod": 1, "ApplyImmediately": True}
    return Call(source.region, "ModifyDBInstance", said)


def restart(name: str, region: str) -> Call:
    """What starts an instance anew, with the parameters that wait for that."""
    return Call(region, "RebootDBInstance", {"DBInstanceIdentifier": name})


def waiting(name: str, region: str, state: str = "available") -> str:
    """The command that returns when an instance is so far."""
    return f"aws rds wait db-instance-{state} --region {region} --db-instance-identifier {name}"


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
