"""What is written down while a drill runs: each call of each caller, and when things happened. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf


class Kind(StrEnum):
    """What a caller calls."""

    FETCH = "fetch"
    BLOCK = "read"
    """One statement in a `with router.read()` block, which is never run twice."""
    WRITE = "write"
    BOUNDED = "bounded"
    """`fetch` with a bound on its staleness, beside plain ones."""
    SLOW = "slow"
    """A statement that takes seconds on a server that is well."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gave."""

    node: str
    """Who answered."""
    number: int | None = None
    """A read: the highest number that it saw. A write: the number that it committed."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one caller. The times are of this process's monotonic clock."""

    kind: Kind
    caller: int
    due_s: float
    """When the caller's pace wanted it."""
    began_s: float
    """Later than `due_s` when the caller was still held up by the call before."""
    ended_s: float
    answer: Answer | None
    """None: it failed."""
    error: str = ""
    """The class of the error."""
    message: str = ""

    @property
    def node(self) -> str | None:
        """Who answered."""
        return self.answer.node if self.answer else None

    @property
    def took_s(self) -> float:
        """From the moment when it was due: a caller who is held up waits with all that he has to do."""
        return self.ended_s - self.due_s


@dataclass(frozen=True, slots=True)
class Group:
    """Callers who do the same."""

    kind: Kind
    callers: int
    per_s: float
    """Of all of them together."""


@dataclass(frozen=True, slots=True)
class Look:
    """Which nodes the router would have taken for a plain read at a moment."""

    at_s: float
    candidates: frozenset[str]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to the fleet."""

    at_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Record:
    """One run of a drill. `broken_s` to `mended_s` is the fault; without one, the whole run."""

    nodes: tuple[str, ...]
    victims: tuple[str, ...]
    groups: tuple[Group, ...]
    began_s: float
    broken_s: float
    """Just before the first thing was broken."""
    struck_s: float
    """When all of it was."""
    mended_s: float
    """When the servers took connections again; the end, if nothing was mended."""
    ended_s: float
    calls: tuple[Call, ...]
    looks: tuple[Look, ...] = ()
    events: tuple[Event, ...] = ()
    bound_s: float = inf
    """How stale a read of this drill may be."""
    promoted_s: float | None = None
    """When another node was first seen to take writes."""
    returned: str | None = None
    """The old primary that came back."""
    kept_numbers: frozenset[int] | None = None
    """What is in the primary's table at the end; None: not looked at."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Counted beside the calls, by name."""

    @property
    def is_watched(self) -> bool:
        """Nothing was broken by us: all of it is the fault."""
        return self.broken_s == self.began_s

    def group(self, kind: Kind) -> Group | None:
        """The callers of this kind."""
        return next((group for group in self.groups if group.kind is kind), None)
