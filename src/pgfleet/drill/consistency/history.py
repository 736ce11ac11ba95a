"""What every client asked and was told, in columns: a million operations take some sixty megabytes.

The writes of one key are made by one client, one after the other, and are numbered 1, 2, 3, ... as they are sent. A
register holds the number last written, a list every number that was appended. So both are known by the highest number
that is there and by those below it that are not: for a register none, since each write replaces those before it.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf
from typing import NamedTuple

NO_SESSION = 0


class Outcome(IntEnum):
    """What a writer was told."""

    DONE = 1
    """Acknowledged."""
    REFUSED = 2
    """Surely not done."""
    UNKNOWN = 3
    """Done, or not."""


class Promise(IntEnum):
    """What a read was promised."""

    NOTHING = 0
    OWN = 1
    """What its org wrote: `org_id`."""
    SESSION = 2
    """What its session wrote and saw."""
    BOUND = 3
    """What was visible a bound ago: `max_lag_s`."""
    TOKEN = 4
    """What was written when a token was asked for, in another process."""
    PRIMARY = 5
    """All that was written."""


class State(NamedTuple):
    """What is in a register or a list."""

    highest: int
    """0: nothing."""
    holes: frozenset[int] = frozenset()
    """The numbers below it that are not there."""

    def has(self, number: int) -> bool:
        """Whether this write is there, or, in a register, was replaced."""
        return number <= self.highest and number not in self.holes


EMPTY = State(0)


def state_of(elements: Collection[int]) -> State:
    """Of a list: its elements, in any order."""
    highest = max(elements, default=0)
    if len(elements) == highest:
        return State(highest)
    return State(highest, frozenset(range(1, highest)) - frozenset(elements))


@dataclass(frozen=True, slots=True)
class Write:
    """One write."""

    key: int
    number: int
    client: int
    began_s: float
    ended_s: float
    outcome: Outcome
    node: str = ""
    """Who acknowledged it."""
    session: int = NO_SESSION


@dataclass(frozen=True, slots=True)
class Read:
    """One read that was answered. One that failed saw nothing."""

    key: int
    state: State
    client: int
    began_s: float
    ended_s: float
    node: str
    promise: Promise = Promise.NOTHING
    covers_s: float = -inf
    """It shows every write of this key that was acknowledged before this moment."""
    session: int = NO_SESSION


def _doubles() -> array[float]:
    return array("d")


def _longs() -> array[int]:
    return array("q")


def _shorts() -> array[int]:
    return array("h")


@dataclass
class Columns:
    """What reads and writes have in common, a column each."""

    key: array[int] = field(default_factory=_longs)
    client: array[int] = field(default_factory=_longs)
    session: array[int] = field(default_factory=_longs)
    began_s: array[float] = field(default_factory=_doubles)
    ended_s: array[float] = field(default_factory=_doubles)
    node: array[int] = field(default_factory=_shorts)

    def __len__(self) -> int:
        return len(self.key)

    def append(self, made: Write | Read, node: int) -> None:
        """One row more."""
        self.key.append(made.key)
        self.client.append(made.client)
        self.session.append(made.session)
        self.began_s.append(made.began_s)
        self.ended_s.append(made.ended_s)
        self.node.append(node)


class History:
    """All operations of a run, in the order in which they ended."""

    def __init__(self, operations: Iterable[Write | Read] = ()) -> None:
        self.writes, self.reads = Columns(), Columns()
        self.numbers, self.outcomes = _longs(), _shorts()
        self.highest, self.covers_s, self.promises = _longs(), _doubles(), _shorts()
        self.holes: dict[int, frozenset[int]] = {}
        """Of the few reads that saw any, by their index."""
        self._nodes: dict[str, int] = {}
        for operation in operations:
            self.add(operation)

    def __len__(self) -> int:
        return len(self.writes) + len(self.reads)

    @property
    def nodes(self) -> list[str]:
        """Who answered, by the numbers of the columns."""
        return list(self._nodes)

    def add(self, operation: Write | Read) -> None:
        """Note one more. Not to be called by two threads at once."""
        node = self._nodes.setdefault(operation.node, len(self._nodes))
        if isinstance(operation, Write):
            self.writes.append(operation, node)
            self.numbers.append(operation.number)
            self.outcomes.append(operation.outcome)
        else:
            self._add_read(operation, node)

    def _add_read(self, read: Read, node: int) -> None:
        if read.state.holes:
            self.holes[len(self.reads)] = read.state.holes
        self.reads.append(read, node)
        self.highest.append(read.state.highest)
        self.covers_s.append(read.covers_s)
        self.promises.append(read.promise)

    def write(self, index: int) -> Write:
        """A row as a value."""
        number, outcome = self.numbers[index], Outcome(self.outcomes[index])
        at = self.writes
        return Write(
            at.key[index], number, at.client[index], at.began_s[index], at.ended_s[index], outcome,
            self.nodes[at.node[index]], at.session[index],
        )  # fmt: skip

    def read(self, index: int) -> Read:
        """A row as a value."""
        at = self.reads
        state = State(self.highest[index], self.holes.get(index, frozenset()))
        return Read(
            at.key[index], state, at.client[index], at.began_s[index], at.ended_s[index],
            self.nodes[at.node[index]], Promise(self.promises[index]), self.covers_s[index], at.session[index],
        )  # fmt: skip
