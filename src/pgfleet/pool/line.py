"""The line of those who wait for a connection of one pool: first come, first served."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from pgfleet.pool.bound import Bound
from pgfleet.pool.pooled import Pooled
from pgfleet.ports import Signal

C = TypeVar("C")


class Waiter(Generic[C]):
    """Somebody in line. Served: with a connection, or with a place to open one; with neither: sent away."""

    __slots__ = ("has_place", "pooled", "signal")

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.pooled: Pooled[C] | None = None
        self.has_place = False


class Line(Generic[C]):
    """Those in line; the bound counts them, too. Joined and served under the bound's lock."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._waiters: deque[Waiter[C]] = deque()

    def __len__(self) -> int:
        return len(self._waiters)

    def join(self, waiter: Waiter[C]) -> None:
        """Stand at the end."""
        self._waiters.append(waiter)
        self._bound.waiting += 1

    def leave(self, waiter: Waiter[C]) -> bool:
        """Leave the line unserved; False when somebody served this waiter, or sent him away, meanwhile."""
        with self._bound.lock:
            if waiter not in self._waiters:
                return False
            self._waiters.remove(waiter)
            self._bound.waiting -= 1
            return True

    def serve_first(self, pooled: Pooled[C] | None) -> None:
        """Hand a connection to the first, or the place that was reserved for one."""
        waiter = self._waiters.popleft()
        waiter.pooled = pooled
        waiter.has_place = pooled is None
        self._wake(waiter)

    def dismiss(self) -> None:
        """Send everybody away."""
        with self._bound.lock:
            while self._waiters:
                self._wake(self._waiters.popleft())

    def _wake(self, waiter: Waiter[C]) -> None:
        self._bound.waiting -= 1
        waiter.signal.set()
