"""The limit that the pools of one node share: its writes and its reads are connections of one server."""

from __future__ import annotations

from typing import Protocol

from pgfleet.ports import Runtime


class Sized(Protocol):
    """What has a size to be compared."""

    @property
    def size(self) -> int:
        """Connections open or being opened."""


class Member(Sized, Protocol):
    """What a pool tells its siblings, and does for them."""

    def has_idle(self) -> bool:
        """Whether a connection is waiting to be lent."""

    def has_line(self) -> bool:
        """Whether somebody is waiting for a connection."""

    def evict_one(self) -> bool:
        """Close the connection that has been idle longest. Called under the lock."""

    def serve(self) -> None:
        """Give what has become free to those in line. Called under the lock."""


class Bound:
    """The limit that several pools of one node share, and the lock that guards their lines."""

    def __init__(self, limit: int, runtime: Runtime) -> None:
        self.limit = limit
        self.lock = runtime.lock()
        self.pools: list[Member] = []
        self.waiting = 0
        """Callers in line at any of the pools. Changed under the lock."""

    def has_room(self) -> bool:
        """Whether a pool may open another connection."""
        return sum(pool.size for pool in self.pools) < self.limit

    def could_make_room(self, asking: Sized) -> bool:
        """Whether another pool has an idle connection that `asking` may have closed for its own sake."""
        return any(self._can_spare(pool, asking) for pool in self.pools)

    def make_room(self, asking: Sized) -> bool:
        """Close an idle connection of another pool. Called under the lock."""
        return any(self._can_spare(pool, asking) and pool.evict_one() for pool in self.pools)

    def _can_spare(self, pool: Member, asking: Sized) -> bool:
        """Whether `pool` must cede an idle connection: nobody waits for it there, or fewer wait in vain elsewhere.

        A pool whose line never ends would starve the others; one that ceded at each turn would open at each turn.
        """
        if pool is asking or not pool.has_idle():
            return False
        return not pool.has_line() or not asking.size or asking.size + 1 < pool.size

    def serve(self) -> None:
        """Give what has become free to those who wait, the smallest pool first. Called under the lock."""
        for pool in sorted(self.pools, key=_size):
            pool.serve()


def _size(pool: Member) -> int:
    return pool.size
