"""The connections of one node for one purpose: a stack of idle ones and a line of those who wait.

Decisions are taken under the lock and I/O is done outside it. Giving back appends the connection first and looks for
waiters after; waiting joins the line first and looks for idle connections after. So no wake-up is lost, and a
connection that nobody waits for comes and goes without a lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Generic, TypeVar

from pgfleet.core.report import PoolStats
from pgfleet.ports import Connector, Runtime, Signal

C = TypeVar("C")

MAX_OPENING = 8
"""Connections that one pool opens at a time: a node that comes back is not met by a storm of new sessions."""


class PoolTimeout(TimeoutError):
    """No connection became free in time. Nothing is wrong with the node."""


class PoolClosed(ConnectionError):
    """The pool is closed and lends nothing any more."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections, and how old they get."""

    max_size: int
    min_size: int = 0
    max_idle_s: float = inf
    max_lifetime_s: float = inf


class Pooled(Generic[C]):
    """One connection of a pool."""

    __slots__ = ("condemned", "idle_since_s", "opened_s", "pool", "raw", "replayable", "timed_out")

    def __init__(self, raw: C, pool: Pool[C], opened_s: float) -> None:
        self.raw = raw
        self.pool = pool
        self.opened_s = opened_s
        self.idle_since_s = 0.0
        """When `tend` first saw it idle; 0.0: not since it was last lent."""
        self.condemned = False
        """To be dropped instead of being lent again."""
        self.replayable = False
        """The statement under way can be run again elsewhere, so it is cut when the node is given up."""
        self.timed_out = False
        """Severed because the caller's time was over."""


class _Waiter(Generic[C]):
    """Somebody in line, who is woken with a connection, or without one to try again."""

    __slots__ = ("pooled", "signal")

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.pooled: Pooled[C] | None = None


class Bound:
    """The limit that several pools of one node share, and the lock that guards their lines."""

    def __init__(self, limit: int, runtime: Runtime) -> None:
        self.limit = limit
        self.lock = runtime.lock()
        self.pools: list[Pool[Any]] = []
        self.waiting = 0
        """Callers in line at any of the pools. Changed under the lock."""

    def has_room(self) -> bool:
        """Whether a pool may open another connection."""
        return sum(pool.size for pool in self.pools) < self.limit

    def could_make_room(self, asking: Pool[Any]) -> bool:
        """Whether another pool has an idle connection that `asking` may have closed for its own sake."""
        return any(pool.has_idle() for pool in self.pools if pool is not asking)

    def make_room(self, asking: Pool[Any]) -> bool:
        """Close an idle connection of another pool. Called under the lock."""
        return any(pool.evict_one() for pool in self.pools if pool is not asking)

    def serve(self) -> None:
        """Give what has become free to those who wait. Called under the lock."""
        for pool in self.pools:
            pool.serve()


class Pool(Generic[C]):
    """Lends connections of one node. It knows no driver: `connector` does what drivers do.

    `admit` sees each new connection before it is lent, and refuses it by raising.
    """

    def __init__(
        self,
        connector: Connector[C],
        runtime: Runtime,
        limits: PoolLimits,
        bound: Bound,
        admit: Callable[[C], Awaitable[None]] | None = None,
    ) -> None:
        self.connector = connector
        self.admit = admit
        self.limits = limits
        self.leases = 0
        """Leases since the start, counted by whoever lends."""
        self._runtime = runtime
        self._bound = bound
        self._lock = bound.lock
        self._idle: list[Pooled[C]] = []
        self._busy: set[Pooled[C]] = set()
        self._waiters: deque[_Waiter[C]] = deque()
        self._opening = 0
        self._closed = False
        self._lives = connector.is_idle
        bound.pools.append(self)

    @property
    def size(self) -> int:
        """Connections open or being opened."""
        return len(self._idle) + len(self._busy) + self._opening

    @property
    def in_flight(self) -> int:
        """Connections lent and callers in line."""
        return len(self._busy) + len(self._waiters)

    def has_idle(self) -> bool:
        """Whether a connection is waiting to be lent."""
        return bool(self._idle)

    def has_room(self) -> bool:
        """Whether a caller need not wait for another to give back."""
        return bool(self._idle) or self._may_open()

    def stats(self) -> PoolStats:
        """The figures of this moment."""
        active, idle = len(self._busy), len(self._idle)
        return PoolStats(active, idle, len(self._waiters), self.limits.max_size, self.leases)

    # lending

    def take(self) -> Pooled[C] | None:
        """A living idle connection, at once and without a lock; None when there is none."""
        idle = self._idle
        while idle:
            try:
                pooled = idle.pop()
            except IndexError:  # another thread was faster
                return None
            if self._lives(pooled.raw):
                self._busy.add(pooled)
                return pooled
            self.connector.drop(pooled.raw)
        return None

    async def acquire(self, deadline_s: float) -> Pooled[C]:
        """An idle connection, a new one, or the next to come back before `deadline_s`.

        Raises PoolTimeout, PoolClosed, and what the connector and `admit` raise.
        """
        while True:
            if self._closed:
                raise PoolClosed("the pool is closed")
            if pooled := self.take():
                return pooled
            if self._reserve():
                return await self._open(deadline_s)
            if pooled := await self._wait_in_line(deadline_s):
                return pooled

    def give(self, pooled: Pooled[C]) -> None:
        """Take a clean connection back. Never blocks on anything but the lock."""
        self._busy.discard(pooled)
        if pooled.condemned or self._closed:
            self._drop(pooled)
            return
        pooled.idle_since_s = 0.0
        self._idle.append(pooled)
        if self._bound.waiting:
            with self._lock:
                self._bound.serve()

    async def reset_and_give(self, pooled: Pooled[C]) -> Exception | None:
        """Clean a connection and take it back; return what went wrong.

        A connection whose cleaning fails or is cancelled is dropped, never lent again.
        """
        clean = False
        try:
            await self.connector.reset(pooled.raw)
            clean = self._lives(pooled.raw)
        except Exception as error:
            return error
        finally:
            if clean:
                self.give(pooled)
            else:
                self.discard(pooled)
        return None

    def discard(self, pooled: Pooled[C]) -> None:
        """Drop a lent connection that nobody may use again."""
        self._busy.discard(pooled)
        self._drop(pooled)

    def serve(self) -> None:
        """Hand idle connections to those in line, and let the first one try where there is room. Under the lock."""
        while self._waiters and (pooled := self.take()):
            self._wake_first(pooled)
        if self._waiters and self._may_open():
            self._wake_first(None)

    # looking after

    def sever_replayable(self) -> None:
        """Cut every statement that can run elsewhere: its node has been given up."""
        for pooled in list(self._busy):
            if pooled.replayable:
                self.sever(pooled)

    def sever(self, pooled: Pooled[C]) -> None:
        """Cut a lent connection: whoever waits on it fails at once."""
        pooled.condemned = True
        self.connector.sever(pooled.raw)

    def drain(self) -> None:
        """Lend nothing that is open now again: idle connections go at once, lent ones when they come back."""
        for pooled in list(self._busy):
            pooled.condemned = True
        for pooled in self._withdraw(lambda _: True):
            self._drop(pooled)

    async def tend(self, now_s: float) -> None:
        """End what is too old or too long idle, and open up to the minimum. To be called every second or so."""
        for pooled in list(self._busy):
            pooled.condemned = pooled.condemned or self._is_old(pooled, now_s)
        for pooled in self._withdraw(
            lambda pooled: self._is_old(pooled, now_s) or not self._lives(pooled.raw)
        ):
            await self.connector.close(pooled.raw)
        spare = self.size - self.limits.min_size
        for pooled in self._withdraw(lambda pooled: self._is_long_idle(pooled, now_s), at_most=spare):
            await self.connector.close(pooled.raw)

    async def fill(self, timeout_s: float) -> None:
        """Open connections up to the minimum. Raises what opening raises."""
        while self.size < self.limits.min_size and not self._closed and self._reserve():
            self.give(await self._open(self._runtime.clock() + timeout_s))

    async def close(self) -> None:
        """Lend nothing any more; end what is idle; send those in line away. What is lent ends when it comes back."""
        self._closed = True
        for pooled in list(self._busy):
            pooled.condemned = True
        with self._lock:
            while self._waiters:
                self._wake_first(None)
        for pooled in self._withdraw(lambda _: True):
            await self.connector.close(pooled.raw)

    def evict_one(self) -> bool:
        """Close the connection that has been idle longest, for the sake of a sibling. Called under the lock."""
        if not self._idle:
            return False
        self.connector.drop(self._idle.pop(0).raw)
        return True

    def _is_old(self, pooled: Pooled[C], now_s: float) -> bool:
        return now_s - pooled.opened_s >= self.limits.max_lifetime_s

    def _is_long_idle(self, pooled: Pooled[C], now_s: float) -> bool:
        pooled.idle_since_s = pooled.idle_since_s or now_s
        return now_s - pooled.idle_since_s >= self.limits.max_idle_s

    def _withdraw(self, unwanted: Callable[[Pooled[C]], bool], at_most: int | None = None) -> list[Pooled[C]]:
        """Take idle connections out of the pool, the longest idle first."""
        with self._lock:
            gone = [pooled for pooled in list(self._idle) if unwanted(pooled)]
            gone = gone if at_most is None else gone[: max(0, at_most)]
            return [pooled for pooled in gone if self._remove_idle(pooled)]

    def _remove_idle(self, pooled: Pooled[C]) -> bool:
        try:
            self._idle.remove(pooled)
        except ValueError:  # lent meanwhile
            return False
        return True

    def _drop(self, pooled: Pooled[C]) -> None:
        self.connector.drop(pooled.raw)
        if self._bound.waiting:
            with self._lock:
                self._bound.serve()

    # opening

    def _may_open(self) -> bool:
        if self._opening >= MAX_OPENING or self.size >= self.limits.max_size:
            return False
        return self._bound.has_room() or self._bound.could_make_room(self)

    def _reserve(self) -> bool:
        """Count a connection that is about to be opened, if there is room; a sibling's idle one makes room."""
        with self._lock:
            if not self._may_open():
                return False
            if not self._bound.has_room() and not self._bound.make_room(self):
                return False
            self._opening += 1
            return True

    async def _open(self, deadline_s: float) -> Pooled[C]:
        """Open the connection that was reserved. Whatever happens, its place is filled or free again."""
        pooled: Pooled[C] | None = None
        try:
            raw = await self.connector.open(max(0.001, deadline_s - self._runtime.clock()))
            pooled = await self._admitted(raw)
        finally:
            with self._lock:
                self._opening -= 1
                if pooled:
                    self._busy.add(pooled)
                self._bound.serve()
        return pooled

    async def _admitted(self, raw: C) -> Pooled[C]:
        try:
            if self.admit:
                await self.admit(raw)
        except BaseException:
            self.connector.drop(raw)
            raise
        pooled = Pooled(raw, self, self._runtime.clock())
        pooled.condemned = self._closed
        return pooled

    # waiting

    async def _wait_in_line(self, deadline_s: float) -> Pooled[C] | None:
        """A connection that somebody gave back; None: there may be room now, try again. Raises PoolTimeout."""
        waiter: _Waiter[C] = _Waiter(self._runtime.signal())
        self._join_line(waiter)
        try:
            await waiter.signal.wait(max(0.0, deadline_s - self._runtime.clock()))
        except BaseException:
            self._pass_on(waiter)
            raise
        if self._left_line(waiter):
            raise PoolTimeout("no connection became free in time")
        return waiter.pooled

    def _join_line(self, waiter: _Waiter[C]) -> None:
        with self._lock:
            self._waiters.append(waiter)
            self._bound.waiting += 1
            self.serve()

    def _left_line(self, waiter: _Waiter[C]) -> bool:
        """Leave the line unserved; False when somebody served this waiter meanwhile."""
        with self._lock:
            if waiter not in self._waiters:
                return False
            self._waiters.remove(waiter)
            self._bound.waiting -= 1
            return True

    def _pass_on(self, waiter: _Waiter[C]) -> None:
        """A cancelled waiter keeps nothing: neither a connection nor the turn to try."""
        if self._left_line(waiter):
            return
        if waiter.pooled:
            self.give(waiter.pooled)
        else:
            with self._lock:
                self._bound.serve()

    def _wake_first(self, pooled: Pooled[C] | None) -> None:
        waiter = self._waiters.popleft()
        self._bound.waiting -= 1
        waiter.pooled = pooled
        waiter.signal.set()
