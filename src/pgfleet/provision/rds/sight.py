"""What an instance is to the fleet."""

from __future__ import annotations

from pgfleet.clouds.rds import BROKEN, REPLICATING, Instance
from pgfleet.provision.managed.instance import stray
from pgfleet.provision.rds import calls
from pgfleet.provision.rds.settings import told

UNDECIDED = ("", "connecting", REPLICATING)
"""What replication says while nothing is wrong."""


def attributes(instance: Instance, source: Instance) -> dict[str, str]:
    """All of it that may be wished."""
    of_whom = source.name if instance.copies(source) else instance.source
    return {"source": of_whom, "region": instance.region} | told(instance)


def trouble(instance: Instance, source: Instance) -> str:
    """Why it can be no part of the fleet. Empty: it can."""
    status, (replication, why) = instance.status, instance.replication
    removal = calls.removal(instance.name, instance.region)
    if wrong := stray(instance, source):
        return wrong
    if instance.is_deleting:
        return "is being deleted; wait until it is gone"
    if status in BROKEN:
        return f"is {status}; start or mend it, or remove it: {removal}"
    if replication not in UNDECIDED:
        return f"its replication is {replication} ({why or 'AWS does not say why'}); remove it: {removal}"
    return ""
