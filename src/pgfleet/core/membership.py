"""Which nodes a fleet has: as somebody found them, as they are wanted, and what to do about the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Found:
    """A server that was discovered. User, password, database and parameters are those of DATABASE_URL."""

    name: str
    host: str
    port: int
    weight: int = 1
    """Its part of the reads, against the weights of the others."""
    zone: str | None = None
    takes_reads: bool = True
    """False: watched and listed, but no read goes there."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node of a fleet. What else is to be known of it is its own business."""

    name: str
    key: object
    """Equal for two of one name that the same connections serve."""
    weight: int = 1
    draining: bool = False
    """It takes no new read."""
    is_shared: bool = False
    """Several servers stand behind it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What makes one membership of another."""

    members: tuple[Member, ...]
    """All from now on, in order: those that leave stay at the end, draining, until nothing is lent there."""
    joining: tuple[str, ...]
    leaving: tuple[str, ...]


def change(present: Sequence[Member], wanted: Sequence[Member]) -> Change:
    """How to come from the nodes that are there to those that are wanted.

    A node whose key has changed leaves; its successor of the same name joins when it is gone, in a change of its own.
    """
    names = {member.name for member in present}
    keys = {member.name: member.key for member in wanted}
    leaving = [m for m in present if m.name not in keys or keys[m.name] != m.key]
    held = {member.name for member in leaving}
    staying = [member for member in wanted if member.name not in held]
    return Change(
        members=(*staying, *(replace(member, draining=True) for member in leaving)),
        joining=tuple(member.name for member in staying if member.name not in names),
        leaving=tuple(member.name for member in leaving),
    )
