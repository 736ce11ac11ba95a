"""Which acknowledged writes a promotion took away: those that the promoted node had not replayed, and no others.

A reign is the time of one primary. A write belongs to the reign of the node that acknowledged it. It survives a
promotion when the promoted node held it at that moment, which is read on the node itself just before, after the old
primary has been stopped and all that had arrived has been replayed. Nothing is inferred from log positions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pgfleet.drill.consistency.history import EMPTY, State


@dataclass(frozen=True, slots=True)
class Promotion:
    """The end of one reign, and the beginning of the next."""

    at_s: float
    """Just before: no read that ended earlier can have missed what was lost."""
    node: str
    """Who was promoted."""
    kept: Mapping[int, State] = field(default_factory=dict)
    """What it held then, by key."""

    def keeps(self, key: int, number: int) -> bool:
        """Whether this write survived."""
        return self.kept.get(key, EMPTY).has(number)


class Reigns:
    """The primaries of a run, one after the other."""

    def __init__(self, first: str, promotions: Sequence[Promotion] = ()) -> None:
        self.promotions = tuple(promotions)
        self._began_s = [promotion.at_s for promotion in self.promotions]
        self._nodes = [first, *(promotion.node for promotion in self.promotions)]

    def of(self, node: str, ended_s: float) -> int:
        """The reign in which a node acknowledged something: its last before this moment."""
        known = bisect_right(self._began_s, ended_s)
        return next((at for at in range(known, -1, -1) if self._nodes[at] == node), known)

    def primary(self, moment_s: float) -> str:
        """Who reigned."""
        return self._nodes[self.at(moment_s)]

    def at(self, moment_s: float) -> int:
        """The reign of a moment: that of a write whose outcome nobody knows."""
        return bisect_right(self._began_s, moment_s)

    def lost_at_s(self, key: int, numbers: Iterable[int], reign: int) -> dict[int, float]:
        """When those of these writes of one reign that did not last were lost."""
        lost: dict[int, float] = {}
        left = list(numbers)
        for promotion in self.promotions[reign:]:
            kept = promotion.kept.get(key, EMPTY)
            if left and (left[-1] > kept.highest or kept.holes):
                lost |= {number: promotion.at_s for number in left if not kept.has(number)}
                left = [number for number in left if number not in lost]
        return lost
