"""How long a node takes to answer, against the others: by three points of the distribution of its answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from statistics import median

POINTS = (0.1, 0.5, 0.8)
"""All of them must be worse for a node to count as slow.

One alone lies: of a mix of short and long statements, chance moves the point that stands where the short ones end by as
much as the two differ. It cannot move all three: that takes four kinds of statements that end at just these points.
"""
FACTOR = 3.0
MARGIN_S = 0.01
"""A node that takes 300 us where the others take 80 us harms nobody."""
MOST = 128
"""Answers that are kept of one node."""
RECENT_S = 10.0
"""Answers that are still too few after this are forgotten; and what a node took before is no measure for the others."""

Profile = tuple[float, ...]
"""The answer times at `POINTS`, in seconds."""


def profile(answers_s: Iterable[float], at_least: int) -> Profile | None:
    """The profile of these answer times; None: they are too few to say anything."""
    ordered = sorted(answers_s)
    if len(ordered) < at_least:
        return None
    return tuple(ordered[int(point * len(ordered))] for point in POINTS)


def typical(others: Sequence[Profile]) -> Profile:
    """The median of the others at each point. Of two that is the middle between them, of one its own."""
    return tuple(median(at_point) for at_point in zip(*others, strict=True))


def is_quick(mine: Profile) -> bool:
    """Whether a node is so fast that it is not slow, whatever the others take."""
    return mine[0] <= MARGIN_S


def is_slow(mine: Profile, others: Sequence[Profile]) -> bool:
    """Whether a node is much slower than the others: so much that its reads are better served by them."""
    return all(
        at_s > FACTOR * their_s and at_s > their_s + MARGIN_S
        for at_s, their_s in zip(mine, typical(others), strict=True)
    )


def comparison(mine: Profile, others: Sequence[Profile]) -> str:
    """The same in words."""
    middle = len(POINTS) // 2
    return f"half of its answers take {_ms(mine[middle])}, of the others' {_ms(typical(others)[middle])}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


class Answers:
    """The latest answer times of one node to one kind of question, and the last profile of enough of them."""

    __slots__ = ("_at_least", "_latest_s", "_since_s", "add", "profile", "profiled_s")

    def __init__(self, at_least: int) -> None:
        self._at_least = at_least
        self._latest_s: deque[float] = deque(maxlen=MOST)
        self._since_s = -inf
        self.add = self._latest_s.append
        """Takes seconds. It costs a read 20 ns, where to find a histogram's bucket costs five times as much."""
        self.profile: Profile | None = None
        self.profiled_s = -inf

    def begin(self, now_s: float) -> None:
        """Forget what was gathered so far."""
        self._latest_s.clear()
        self._since_s = now_s

    def look(self, now_s: float, waits_s: Iterable[float] = (), at_least: int | None = None) -> bool:
        """Draw a new profile, if there is enough for one. Who waits counts as answered now: it can only get worse."""
        seen = profile((*self._latest_s, *waits_s), at_least or self._at_least)
        if seen:
            self.profile, self.profiled_s = seen, now_s
        if seen or now_s - self._since_s >= RECENT_S:
            self.begin(now_s)
        return seen is not None

    def recent(self, now_s: float) -> Profile | None:
        """The last profile, unless it is too old to be compared with."""
        return self.profile if now_s - self.profiled_s < RECENT_S else None
