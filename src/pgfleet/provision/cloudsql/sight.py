"""What an instance is to the fleet."""

from __future__ import annotations

from pgfleet.clouds.cloudsql import BROKEN, READ_REPLICA, Instance
from pgfleet.provision.cloudsql import commands
from pgfleet.provision.managed.instance import stray


def trouble(instance: Instance, source: Instance) -> str:
    """Why it can be no part of the fleet. Empty: it can."""
    removal = commands.removal(instance.project, instance.name)
    if wrong := stray(instance, source):
        return wrong
    if instance.facts.get("instanceType", READ_REPLICA) != READ_REPLICA:
        return f"is a {instance.facts['instanceType']}, no read replica; give yours another name"
    if instance.is_deleting:
        return "is being deleted; its name is free after a week, so give yours another"
    if instance.status in BROKEN:
        return f"is {instance.status}; mend it, or remove it: {removal}"
    if not instance.is_started:
        return f"is stopped; {commands.patch(instance, commands.START)}"
    if not instance.replicates:
        return f"does not replicate; {commands.patch(instance, '--enable-database-replication')}"
    return ""
