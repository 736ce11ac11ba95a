"""One connection of a pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from pgfleet.pool.pool import Pool

C = TypeVar("C")


class Pooled(Generic[C]):
    """One connection of a pool."""

    __slots__ = (
        "being_cleaned", "condemned", "fenced", "idle_since_s", "lent_s", "opened_s", "pool", "raw", "replayable",
        "seen_by", "severed", "timed_out", "twin",
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
        self.seen_by: Callable[[], None] | None = None
        """To be told that what was read here has been seen, for a read of a session."""
        self.twin: Pooled[C] | None = None
        """The connection on which the same statement is under way, sent because this one is late."""
