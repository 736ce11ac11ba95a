"""What an instance is to the fleet."""

from __future__ import annotations

from typing import TypeVar

from pgfleet.clouds.instance import ManagedInstance

MARK = "pgfleet"
"""The tag or label that says which fleet owns an instance."""

InstanceT = TypeVar("InstanceT", bound=ManagedInstance)


def stray(instance: InstanceT, source: InstanceT) -> str:
    """Why it is no replica of the source. Empty: it is one, or becomes one."""
    if not instance.source and not instance.is_creating:
        return "is no replica, it was promoted or made by hand; give yours another name"
    if instance.source and not instance.copies(source):
        return f"is a replica of {instance.source}, not of {source.name}; give yours another name"
    return ""
