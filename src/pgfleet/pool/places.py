"""How many connections a pool has and may have: it counts places, filled ones and those reserved for an opening."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from pgfleet.pool.bound import Bound

MAX_OPENING = 8
"""Connections that one pool opens at a time: a node that comes back is not met by a storm of new sessions."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections, and how old they get."""

    max_size: int
    min_size: int = 0
    max_idle_s: float = inf
    max_lifetime_s: float = inf


class Places:
    """The places of one pool. Changed under the bound's lock."""

    def __init__(self, limits: PoolLimits, bound: Bound) -> None:
        self.limits = limits
        self.size = 0
        """Connections open or being opened."""
        self._bound = bound
        self._lock = bound.lock
        self._opening = 0
        self._refusals = 0
        """Connections refused of late."""
        self._closed = False

    def is_growing(self) -> bool:
        """Whether a connection is being opened."""
        return self._opening > 0

    def _may_open(self) -> bool:
        if self._closed or self._opening >= MAX_OPENING or self.size >= self.limits.max_size:
            return False
        return self._bound.has_room() or self._bound.could_make_room(self)

    def _reserve(self) -> bool:
        """Count a connection that is about to be opened; a sibling's idle one makes room. Under the lock."""
        if not self._may_open() or not (self._bound.has_room() or self._bound.make_room(self)):
            return False
        self._opening += 1
        self.size += 1
        return True

    def _reserve_one(self) -> bool:
        with self._lock:
            return self._reserve()

    def _reserve_minimum(self) -> bool:
        with self._lock:
            return self.size < self.limits.min_size and self._bound.has_room() and self._reserve()

    def _filled(self) -> None:
        """A connection was opened in a place that was reserved. Under the lock."""
        self._opening -= 1
        self._refusals = 0

    def _refused(self) -> None:
        """None was, and the place is free again. Under the lock."""
        self._opening -= 1
        self._refusals += 1
        self.size -= 1

    def _uncount(self) -> None:
        """A connection has ended: somebody may have use for its place."""
        with self._lock:
            self.size -= 1
            self._bound.serve()
