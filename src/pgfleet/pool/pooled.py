"""One connection of a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pgfleet.core.node import Observation

if TYPE_CHECKING:
    from pgfleet.pool.pool import Pool

C = TypeVar("C")


class Sight(Protocol):
    """A read of a session."""

    def end(self) -> None:
        """What was read has been seen."""

    def drop(self) -> None:
        """Nothing was seen of it."""


class Pooled(Generic[C]):
    """One connection of a pool."""

    __slots__ = (
        "being_cleaned", "condemned", "fenced", "idle_since_s", "lent_s", "opened_s", "pool", "raw", "replayable",
        "seen", "seen_by", "severed", "timed_out", "twin",
    )  # fmt: skip

    def __init__(self, raw: C, pool: Pool[C], opened_s: float) -> None:
        self.raw = raw
        self.pool = pool
        self.opened_s = self.lent_s = opened_s
        """When it was opened; when it was last lent, told by whoever lends it."""
        self.idle_since_s = 0.0
        """When `tend` first saw it idle; 0.0: not since it was last lent."""
        self.condemned = False
        """To be dropped instead of being lent again."""
        self.replayable = False
        """The statement under way can be run again elsewhere, so it is cut when the node is given up."""
        self.being_cleaned = False
        """Nothing of the caller's is under way any more, so it is cut then, too."""
        self.severed = False
        """Cut by us: that it ended says nothing of the statement."""
        self.timed_out = False
        """Severed because the caller's time was over."""
        self.fenced = False
        """Severed because its node is no longer the primary."""
        self.seen: Observation | None = None
        """What its server said when it was last asked on this connection."""
        self.seen_by: Sight | None = None
        """To be told that what was read here has been seen, or not, for a read of a session."""
        self.twin: Pooled[C] | None = None
        """The connection on which the same statement is under way, sent because this one is late."""

    def tell_seen(self) -> None:
        """What was read on it has been seen; the next borrower is another."""
        sight, self.seen_by = self.seen_by, None
        if sight:
            sight.end()

    def tell_unseen(self) -> None:
        """Nothing of what was read on it was seen, and the next borrower is another."""
        sight, self.seen_by = self.seen_by, None
        if sight:
            sight.drop()
