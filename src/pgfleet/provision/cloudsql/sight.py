"""What is there: the instances of the project."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from pgfleet.clouds.cloudsql import BROKEN, CREATING, DELETING, READ_REPLICA, Instance
from pgfleet.core.changes import Existing, Resource
from pgfleet.provision.cloudsql import commands
from pgfleet.provision.cloudsql.settings import MARK, told

KIND = "replica"


@dataclass(slots=True)
class Seen:
    """What the last look found."""

    source: Instance | None = None
    instances: dict[str, Instance] = field(default_factory=dict)
    """By name, without the source."""


def existing(seen: Seen, fleet: str, wanted: Collection[str]) -> Iterator[Existing]:
    """Those that the fleet owns or wants."""
    source = seen.source
    assert source
    for instance in seen.instances.values():
        is_marked = instance.labels.get(MARK) == fleet
        if is_marked or instance.name in wanted:
            yield Existing(
                Resource(KIND, instance.name, told(instance)),
                is_ours=is_marked and instance.source == source.name,
                is_ready=instance.serves,
                trouble=trouble(instance, source),
            )


def trouble(instance: Instance, source: Instance) -> str:
    """Why it can be no part of the fleet. Empty: it can."""
    removal = commands.removal(instance.project, instance.name)
    if not instance.source and instance.state != CREATING:
        return "is no replica, it was promoted or made by hand; give yours another name"
    if instance.source and instance.source != source.name:
        return f"is a replica of {instance.source}, not of {source.name}; give yours another name"
    if instance.facts.get("instanceType", READ_REPLICA) != READ_REPLICA:
        return f"is a {instance.facts['instanceType']}, no read replica; give yours another name"
    if instance.state == DELETING:
        return "is being deleted; its name is free after a week, so give yours another"
    if instance.state in BROKEN:
        return f"is {instance.state}; mend it, or remove it: {removal}"
    if not instance.is_started:
        return f"is stopped; gcloud sql instances patch {instance.name} --activation-policy=ALWAYS"
    if not instance.replicates:
        return f"does not replicate; gcloud sql instances patch {instance.name} --enable-database-replication"
    return ""
