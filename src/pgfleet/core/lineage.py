"""What became of old positions when another server was promoted: which of them are still part of history.

A promotion ends a timeline at the last position that the promoted server had replayed, its fork. What was written
beyond it is gone. The proof stands in docs/design/read-your-writes.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf, nextafter

from pgfleet.core.lsn import Lsn
from pgfleet.core.position import Watermark

MOST_FORKS = 16
"""Promotions that are remembered. Of what is older nobody can tell any more whether it survived."""


class Coverage(StrEnum):
    """What a server has to say to a watermark."""

    REACHED = "reached"
    PENDING = "pending"
    """It will come to it."""
    LOST = "lost"
    """No server will: it was written to a timeline that ended before, or nobody can tell."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A promotion: `timeline` begins where the one `before` it ended for us, at `lsn` at the least.

    Whoever wrote between `since_s` and `until_s`, on our monotonic clock, may have written in vain.
    """

    before: int
    timeline: int
    lsn: Lsn | None
    """None: nobody saw where."""
    since_s: float
    """The latest moment whose every visible commit has survived."""
    until_s: float
    """When the new primary was first asked."""

    def loses(self, mark_s: float) -> bool:
        """Whether a write that ended at this moment may be lost. In the same tick it may have come after the sample."""
        return self.since_s <= mark_s <= self.until_s


@dataclass(frozen=True, slots=True)
class Lineage:
    """The promotions that we saw, oldest first."""

    forks: tuple[Fork, ...] = ()

    def after(self, fork: Fork) -> Lineage:
        """The same with one more. The two oldest become one that loses what either did, and what was between them."""
        forks = (*self.forks, fork)
        if len(forks) > MOST_FORKS:
            oldest, second, *others = forks
            merged = replace(second, before=oldest.before, lsn=None, since_s=oldest.since_s)
            forks = (merged, *others)
        return Lineage(forks)

    def covers(self, watermark: Watermark, timeline: int, replayed: Lsn) -> Coverage:
        """What a server says to it that has replayed so much of this timeline."""
        if watermark.timeline > timeline:
            return Coverage.PENDING
        if watermark.timeline == timeline:
            return Coverage.REACHED if replayed >= watermark.lsn else Coverage.PENDING
        return Coverage.REACHED if self._survives(watermark, timeline) else Coverage.LOST

    def has_lost(self, watermark: Watermark, timeline: int) -> bool:
        """Whether nobody on this timeline, or a later one, can have it."""
        return watermark.timeline < timeline and not self._survives(watermark, timeline)

    def lost_at(self, mark_s: float) -> Fork | None:
        """The promotion in which a write that ended at this moment may have been lost."""
        return next((fork for fork in self.forks if fork.loses(mark_s)), None)

    @property
    def last(self) -> Fork | None:
        """The latest promotion that we saw."""
        return self.forks[-1] if self.forks else None

    @property
    def settled_s(self) -> float:
        """No write that ended later than this has been lost."""
        return max((fork.until_s for fork in self.forks), default=-inf)

    def _survives(self, watermark: Watermark, timeline: int) -> bool:
        """Whether a chain of promotions that we saw leads from there to here, each beyond the position."""
        at = watermark.timeline
        for fork in self._between(at, timeline):
            if fork.before != at or fork.lsn is None or watermark.lsn > fork.lsn:
                return False
            at = fork.timeline
        return at == timeline

    def _between(self, timeline: int, later: int) -> Iterator[Fork]:
        return (fork for fork in self.forks if timeline < fork.timeline <= later)


def just_after(moment_s: float) -> float:
    """The next moment that a float can tell."""
    return nextafter(moment_s, inf)
