"""The connections of one node for one purpose: a stack of idle ones and a line of those who wait.

Decisions are taken under the lock and I/O is done outside it. Giving back appends the connection first and looks for
waiters after; waiting joins the line first and looks for idle connections after. So no wake-up is lost, and a
connection that nobody waits for comes and goes without a lock. What becomes free, a connection or the place for one,
is handed to the first in line, who need not compete for it. docs/design/pool.md has the invariants.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
from typing import Any, TypeVar

from pgfleet.core.latency import Answers
from pgfleet.core.node import Observation
from pgfleet.core.report import PoolStats
from pgfleet.pool.bound import Bound
from pgfleet.pool.line import Line, Waiter
from pgfleet.pool.openings import Openings
from pgfleet.pool.places import PoolLimits
from pgfleet.pool.pooled import Pooled
from pgfleet.pool.refusals import PoolClosed, PoolTimeout
from pgfleet.pool.stock import Stock
from pgfleet.ports import Connector, Runtime

C = TypeVar("C")

MIN_READS = 10
"""Answers that say something of a node's speed."""


class Pool(Stock[C]):
    """Lends connections of one node. It knows no driver: `connector` does what drivers do.

    `admit` sees each new connection before it is lent, and refuses it by raising; what it returns is kept with it.
    """

    def __init__(
        self,
        connector: Connector[C],
        runtime: Runtime,
        limits: PoolLimits,
        bound: Bound,
        admit: Callable[[C], Awaitable[Observation | None]] | None = None,
    ) -> None:
        super().__init__(connector, limits, bound)
        self.admit = admit
        self.owner: Any = None
        """The node whose pool this is."""
        self.leases = 0
        """Leases since the start, counted by whoever lends."""
        self.answers = Answers(MIN_READS)
        """How long statements take here, told by whoever sends them."""
        self._runtime = runtime
        self._waiters: Line[C] = Line(bound)
        self._openings: Openings[C] = Openings(self, runtime)
        bound.pools.append(self)

    @property
    def in_flight(self) -> int:
        """Connections lent, callers in line, and connections refused of late.

        A node that refuses never has anything in flight: without the last it would look the least busy of all.
        """
        return len(self._busy) + len(self._waiters) + self._refusals

    def has_line(self) -> bool:
        """Whether somebody is waiting for a connection."""
        return bool(self._waiters)

    def stats(self) -> PoolStats:
        """The figures of this moment."""
        active, idle = len(self._busy), len(self._idle)
        return PoolStats(active, idle, len(self._waiters), self.limits.max_size, self.leases)

    def under_way_since(self) -> list[float]:
        """When each connection that is lent was lent, and when each began that is being opened for a caller."""
        return [*(pooled.lent_s for pooled in list(self._busy)), *self._openings.begun_s()]

    # lending

    async def acquire(self, deadline_s: float, connect_s: float = inf) -> Pooled[C]:
        """An idle connection, a new one, or the next to come back before `deadline_s`.

        To connect may take `connect_s` of that time. Raises PoolTimeout, PoolClosed, and what the connector and
        `admit` raise.
        """
        pooled = self.take() or await self._wait(deadline_s, connect_s)
        pooled.lent_s = self._runtime.clock()
        return pooled

    async def _wait(self, deadline_s: float, connect_s: float) -> Pooled[C]:
        waiter = self._join_line()
        if not waiter.has_place:
            await self._wait_in_line(waiter, deadline_s)
        if waiter.has_place:
            return await self._openings.open(min(deadline_s, self._runtime.clock() + connect_s))
        if waiter.pooled:
            return waiter.pooled
        raise PoolClosed("the pool is closed") if self._closed else PoolTimeout("the node is given up")

    def give(self, pooled: Pooled[C]) -> None:
        """Take a clean connection back. Never blocks on anything but the lock."""
        del self._busy[pooled]
        if pooled.condemned:
            self._drop(pooled)
            return
        pooled.idle_since_s = 0.0
        self._idle.append(pooled)
        if self._closed or self._bound.waiting:
            self._settle()

    async def reset_and_give(self, pooled: Pooled[C]) -> Exception | None:
        """Clean a connection and take it back; return what went wrong.

        A connection whose cleaning fails or is cancelled is dropped, never lent again. One that is condemned is not
        cleaned first: its node may be silent, and its caller has all that he waited for.
        """
        clean = False
        try:
            if not pooled.condemned:
                pooled.being_cleaned = True
                await self.connector.reset(pooled.raw)
                clean = self._lives(pooled.raw)
        except Exception as error:
            return None if pooled.severed else error
        finally:
            pooled.being_cleaned = False
            if clean:
                self.give(pooled)
            else:
                self.discard(pooled)
        return None

    def serve(self) -> None:
        """Hand idle connections to those in line, and places to open more while there are any. Under the lock."""
        while self._waiters and (pooled := self.take()):
            self._waiters.serve_first(pooled)
        while self._waiters and self._reserve():
            self._waiters.serve_first(None)

    def _settle(self) -> None:
        with self._lock:
            while self._closed and self.evict_one():
                pass
            self._bound.serve()

    # waiting

    def _join_line(self) -> Waiter[C]:
        """Stand in line; with luck served at once. Raises PoolClosed."""
        waiter: Waiter[C] = Waiter(self._runtime.signal())
        with self._lock:
            if self._closed:
                raise PoolClosed("the pool is closed")
            self._waiters.join(waiter)
            self._bound.serve()
        return waiter

    async def _wait_in_line(self, waiter: Waiter[C], deadline_s: float) -> None:
        """Wait until served, or until the pool closes. Raises PoolTimeout."""
        try:
            await waiter.signal.wait(max(0.0, deadline_s - self._runtime.clock()))
        except BaseException:
            self._pass_on(waiter)
            raise
        if self._waiters.leave(waiter):
            raise PoolTimeout("no connection became free in time")

    def _pass_on(self, waiter: Waiter[C]) -> None:
        """A cancelled waiter keeps nothing: neither a connection nor a place for one."""
        if self._waiters.leave(waiter):
            return
        if waiter.pooled:
            self.give(waiter.pooled)
        elif waiter.has_place:
            self.opened(None)

    # opening

    async def fill(self, timeout_s: float) -> None:
        """Open connections up to the minimum, at nobody's expense. Raises what opening raises."""
        while self._reserve_minimum():
            self.give(await self._openings.open(self._runtime.clock() + timeout_s))

    async def grow(self, timeout_s: float) -> None:
        """Open one connection more, if there is room. Raises what opening raises."""
        if self._reserve_one():
            self.give(await self._openings.open(self._runtime.clock() + timeout_s))

    async def open_one(self, deadline_s: float) -> Pooled[C] | None:
        """A new connection for the caller, if there is room for one more. Raises what opening raises."""
        return await self._openings.open(deadline_s) if self._reserve_one() else None

    def opened(self, pooled: Pooled[C] | None) -> None:
        """An opening has ended: the place that was reserved is filled, or free again."""
        with self._lock:
            if pooled:
                self._filled()
                self._busy[pooled] = None
            else:
                self._refused()
            self._bound.serve()

    # giving up

    def fence(self) -> None:
        """Cut every lent connection, and send those in line away: nothing is written here any more."""
        for pooled in list(self._busy):
            pooled.fenced = True
            self.sever(pooled)
        self.send_away()

    def send_away(self) -> None:
        """Keep nobody waiting for a node that is given up: in line, or for an opening. They may find another."""
        self._waiters.dismiss()
        self._openings.abandon()

    def resize(self, max_size: int) -> None:
        """Have at most so many connections from now on; those in line get what has become free by it."""
        self.limits = replace(self.limits, max_size=max_size)
        self._settle()

    async def empty(self) -> None:
        """End what is idle, and send those in line away: the pool is to lend no more for a while."""
        self._waiters.dismiss()
        await self._end(self._withdraw(lambda _: True))

    async def close(self) -> None:
        """Lend nothing any more; end what is idle; send those in line away. What is lent ends when it comes back."""
        self._closed = True
        await self.empty()
