"""What is there: the instances of every region that the fleet may have a part in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pgfleet.clouds.rds import BROKEN, CREATING, DELETING, REPLICATING, Instance
from pgfleet.core.changes import Existing, Resource
from pgfleet.provision.rds.settings import MARK, told

KIND = "replica"
UNDECIDED = ("", "connecting", REPLICATING)
"""What replication says while nothing is wrong."""


@dataclass(slots=True)
class Seen:
    """What the last look found."""

    source: Instance | None = None
    instances: dict[str, Instance] = field(default_factory=dict)
    """By name, without the source."""


def existing(seen: Seen, fleet: str, wanted: Mapping[str, str]) -> Iterator[Existing]:
    """Those that the fleet owns or wants; `wanted` are names and their regions."""
    source = seen.source
    assert source
    for instance in seen.instances.values():
        is_marked = instance.tags.get(MARK) == fleet
        if is_marked or instance.name in wanted:
            yield Existing(
                Resource(KIND, instance.name, attributes(instance, source)),
                is_ours=is_marked and instance.copies(source),
                is_ready=instance.streams,
                trouble=trouble(instance, source),
            )


def attributes(instance: Instance, source: Instance) -> dict[str, str]:
    """All of it that may be wished."""
    of_whom = source.name if instance.copies(source) else instance.source
    return {"source": of_whom, "region": instance.region} | told(instance)


def trouble(instance: Instance, source: Instance) -> str:
    """Why it can be no part of the fleet. Empty: it can."""
    status, (replication, why) = instance.status, instance.replication
    if not instance.source and status != CREATING:
        return "is no replica, it was promoted or made by hand; give yours another name"
    if instance.source and not instance.copies(source):
        return f"is a replica of {instance.source}, not of {source.name}; give yours another name"
    if status == DELETING:
        return "is being deleted; wait until it is gone and apply again"
    if status in BROKEN:
        return f"is {status}; start or mend it, or remove it: {removal(instance)}"
    if replication not in UNDECIDED:
        return f"its replication is {replication} ({why or 'AWS does not say why'}); remove it: {removal(instance)}"
    return ""


def removal(instance: Instance) -> str:
    """The command for a person."""
    return (
        f"aws rds delete-db-instance --region {instance.region} --db-instance-identifier {instance.name}"
        " --skip-final-snapshot"
    )
