"""What the checker says."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite

from pgfleet.drill.consistency.history import Outcome, Promise, Read, Write
from pgfleet.drill.consistency.keys import is_list, name_of

MOST_TOLD = 20
"""Violations of one check that are kept with their operations. All are counted."""
MOST_HOLES = 5


class Check(StrEnum):
    """What must hold. The value is what people read."""

    OWN = "a read with org_id sees all that its org wrote"
    SESSION = "a session sees what it wrote and saw"
    BOUND = "a read with max_lag_s misses nothing older"
    TOKEN = "a read after a token sees all it covers"  # noqa: S105 (no secret)
    PRIMARY = "a read of the primary sees every write"
    ORDER = "a list has every element before its last"
    REAL = "what is read was written"
    KEPT = "an acknowledged write is there at the end"


OF_PROMISE = {
    Promise.OWN: Check.OWN,
    Promise.BOUND: Check.BOUND,
    Promise.TOKEN: Check.TOKEN,
    Promise.PRIMARY: Check.PRIMARY,
}
"""Those that a read asks for. What holds within a session is looked at session by session."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, and the operations that prove it."""

    check: Check
    what: str
    proof: tuple[Write | Read, ...]

    def __str__(self) -> str:
        return "\n".join((f"{self.what}:", *(f"  {told(operation)}" for operation in self.proof)))


@dataclass
class Verdict:
    """How one of them was kept."""

    check: Check
    checked: int = 0
    """Operations."""
    broken: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether all of them were well."""
        return not self.broken

    def add(self, what: str, *proof: Write | Read) -> None:
        """One was not."""
        self.broken += 1
        if len(self.violations) < MOST_TOLD:
            self.violations.append(Violation(self.check, what, proof))


_OUTCOMES = {
    Outcome.DONE: "acknowledged by {}",
    Outcome.REFUSED: "surely not done",
    Outcome.UNKNOWN: "of unknown outcome",
}


def told(operation: Write | Read) -> str:
    """An operation in a line."""
    when = f"{operation.began_s:.6f} to {operation.ended_s:.6f} s, client {operation.client}"
    if operation.session:
        when += f", session {operation.session}"
    if isinstance(operation, Write):
        outcome = _OUTCOMES[operation.outcome].format(operation.node)
        return f"{when}: wrote {operation.number} to {name_of(operation.key)}, {outcome}"
    return f"{when}: read {_seen(operation)} in {name_of(operation.key)} at {operation.node}{_promised(operation)}"


def _seen(read: Read) -> str:
    if not is_list(read.key):
        return str(read.state.highest)
    holes = sorted(read.state.holes)
    more = f" and {len(holes) - MOST_HOLES} others" if len(holes) > MOST_HOLES else ""
    without = f" without {', '.join(map(str, holes[:MOST_HOLES]))}{more}" if holes else ""
    return f"1 to {read.state.highest}{without}" if read.state.highest else "nothing"


def _promised(read: Read) -> str:
    if not isfinite(read.covers_s):
        return ""
    return f", promised all of {read.covers_s:.6f} s"
