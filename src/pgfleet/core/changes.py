"""What is wanted against what is there -> what is to be done. The same for a cloud and for settings of one server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Key = tuple[str, str]
"""Kind and name of a resource: `("replica", "replica-1")`."""


class Action(StrEnum):
    """What a change does."""

    CREATE = "create"
    CHANGE = "change"
    FINISH = "finish"
    """It is there and not yet as it will be: an apply was ended, or the platform still works on it."""
    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that a fleet is made of: a setting of the primary, a role, a slot, a replica."""

    kind: str
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What of it is wanted, or is there. What is not named here is as it may be."""
    fixed: frozenset[str] = frozenset()
    """Of these attributes, those that cannot be changed once it is there."""

    @property
    def key(self) -> Key:
        """What it is told apart by."""
        return self.kind, self.name


@dataclass(frozen=True, slots=True)
class Existing:
    """A resource that is there."""

    resource: Resource
    is_ours: bool = True
    """This file made it, by the mark that it bears. What is not ours is never changed or removed."""
    is_ready: bool = True
    trouble: str = ""
    """Why it can be no part of the fleet, in words: it belongs to another primary, it has failed."""
    stays: bool = False
    """It is changed and never removed: a setting was there before, and others may rely on it by now."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One attribute."""

    attribute: str
    is_now: str
    """Empty: not set."""
    wanted: str


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one resource."""

    action: Action
    resource: Resource
    """As it is wanted; as it is there, when it is removed."""
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """All of them: first what is made, in the order of the wishes, then what goes, the newest kind first."""

    changes: tuple[Change, ...]
    problems: tuple[str, ...] = ()
    """What cannot be done, a line each, with the next step. With a problem nothing is done at all."""

    @property
    def to_do(self) -> tuple[Change, ...]:
        """All but what stays as it is. Empty: applying again does nothing."""
        return tuple(change for change in self.changes if change.action is not Action.KEEP)


def changes(wanted: Sequence[Resource], existing: Sequence[Existing]) -> Changes:
    """Compare. What is there, is not ours and is not wanted is left out: it is nobody's business here."""
    there = {found.resource.key: found for found in existing}
    wishes = {resource.key for resource in wanted}
    problems: list[str] = []
    made = [_toward(resource, there.get(resource.key), problems) for resource in wanted]
    gone = [
        Change(Action.REMOVE, found.resource)
        for found in reversed(existing)
        if found.is_ours and not found.stays and found.resource.key not in wishes
    ]
    return Changes((*made, *gone), tuple(problems))


def _toward(wanted: Resource, found: Existing | None, problems: list[str]) -> Change:
    if found is None:
        return Change(Action.CREATE, wanted)
    differences = tuple(_differences(wanted, found.resource))
    problems += _problems(wanted, found, differences)
    if differences:
        return Change(Action.CHANGE, wanted, differences)
    return Change(Action.KEEP if found.is_ready else Action.FINISH, wanted)


def _differences(wanted: Resource, found: Resource) -> Iterator[Difference]:
    for attribute, value in wanted.attributes.items():
        is_now = found.attributes.get(attribute, "")
        if is_now != value:
            yield Difference(attribute, is_now, value)


def _problems(wanted: Resource, found: Existing, differences: tuple[Difference, ...]) -> Iterator[str]:
    named = f"{wanted.kind} {wanted.name}"
    if found.trouble:
        yield f"{named}: {found.trouble}"
    elif not found.is_ours and differences:
        yield f"{named}: is there and was not made by this file; give yours another name, or change that one by hand"
    for difference in differences:
        if difference.attribute in wanted.fixed and not found.trouble:
            yield (
                f"{named}: its {difference.attribute} is {difference.is_now or 'not set'} and stays so; write that, or"
                f" give the one with {difference.wanted} another name"
            )
