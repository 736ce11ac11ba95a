"""The connections of one node for one purpose: a stack of idle ones and a line of those who wait.

Decisions are taken under the lock and I/O is done outside it. Giving back appends the connection first and looks for
waiters after; waiting joins the line first and looks for idle connections after. So no wake-up is lost, and a
connection that nobody waits for comes and goes without a lock. What becomes free, a connection or the place for one,
is handed to the first in line, who need not compete for it. docs/design/pool.md has the invariants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

from pgfleet.aside import Abandoned, Aside
from pgfleet.core.latency import Answers
from pgfleet.core.report import PoolStats
from pgfleet.pool.bound import Bound
from pgfleet.ports import Connector, Runtime, Signal

C = TypeVar("C")

MAX_OPENING = 8
"""Connections that one pool opens at a time: a node that comes back is not met by a storm of new sessions."""


MIN_READS = 10
"""Answers that say something of a node's speed."""
LONGEST_OPENING_S = 3600.0
"""The connector keeps the time that it is given; this is only not for ever."""


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

    __slots__ = (
        "condemned", "fenced", "idle_since_s", "lent_s", "opened_s", "pool", "raw", "replayable", "severed",
        "timed_out", "twin",
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
        self.severed = False
        """Cut by us: that it ended says nothing of the statement."""
        self.timed_out = False
        """Severed because the caller's time was over."""
        self.fenced = False
        """Severed because its node is no longer the primary."""
        self.twin: Pooled[C] | None = None
        """The connection on which the same statement is under way, sent because this one is late."""


class _Waiter(Generic[C]):
    """Somebody in line. Served: with a connection, or with a place to open one; with neither: sent away."""

    __slots__ = ("has_place", "pooled", "signal")

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.pooled: Pooled[C] | None = None
        self.has_place = False


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
        self.owner: Any = None
        """The node whose pool this is."""
        self.leases = 0
        """Leases since the start, counted by whoever lends."""
        self.size = 0
        """Connections open or being opened. Changed under the lock."""
        self.answers = Answers(MIN_READS)
        """How long statements take here, told by whoever sends them."""
        self._runtime = runtime
        self._bound = bound
        self._lock = bound.lock
        self._idle: list[Pooled[C]] = []
        self._busy: set[Pooled[C]] = set()
        self._waiters: deque[_Waiter[C]] = deque()
        self._opening = 0
        self._openings: dict[Aside[Pooled[C]], float] = {}
        """Callers who wait for a connection to be opened, and since when."""
        self._refusals = 0
        self._closed = False
        self._lives = connector.is_idle
        bound.pools.append(self)

    @property
    def in_flight(self) -> int:
        """Connections lent, callers in line, and connections refused of late.

        A node that refuses never has anything in flight: without the last it would look the least busy of all.
        """
        return len(self._busy) + len(self._waiters) + self._refusals

    def has_idle(self) -> bool:
        """Whether a connection is waiting to be lent."""
        return bool(self._idle)

    def has_line(self) -> bool:
        """Whether somebody is waiting for a connection."""
        return bool(self._waiters)

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
            self._forget(pooled)
        return None

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
            return await self._open(min(deadline_s, self._runtime.clock() + connect_s))
        if waiter.pooled:
            return waiter.pooled
        raise PoolClosed("the pool is closed") if self._closed else PoolTimeout("the node is given up")

    def give(self, pooled: Pooled[C]) -> None:
        """Take a clean connection back. Never blocks on anything but the lock."""
        self._busy.remove(pooled)
        if pooled.condemned:
            self._drop(pooled)
            return
        pooled.idle_since_s = 0.0
        self._idle.append(pooled)
        if self._closed or self._bound.waiting:
            self._settle()

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
        self._busy.remove(pooled)
        self._drop(pooled)

    def serve(self) -> None:
        """Hand idle connections to those in line, and places to open more while there are any. Under the lock."""
        while self._waiters and (pooled := self.take()):
            self._serve_first(pooled)
        while self._waiters and self._reserve():
            self._serve_first(None)

    # looking after

    def under_way_since(self) -> list[float]:
        """When each connection that is lent was lent, and when each began that is being opened for a caller."""
        return [*(pooled.lent_s for pooled in list(self._busy)), *list(self._openings.values())]

    def waits_s(self, now_s: float, at_least_s: float) -> list[float]:
        """How long each statement that can run elsewhere has been under way, of those that have been for so long."""
        waits_s = [now_s - pooled.lent_s for pooled in list(self._busy) if pooled.replayable]
        return [wait_s for wait_s in waits_s if wait_s >= at_least_s]

    def sever_lent(self) -> None:
        """Cut whatever goes on on a connection of this pool."""
        for pooled in list(self._busy):
            self.sever(pooled)

    def sever_replayable(self) -> None:
        """Cut every statement that can run elsewhere: its node has been given up."""
        for pooled in list(self._busy):
            if pooled.replayable:
                self.sever(pooled)

    def fence(self) -> None:
        """Cut every lent connection, and send those in line away: nothing is written here any more."""
        for pooled in list(self._busy):
            pooled.fenced = True
            self.sever(pooled)
        self.send_away()

    def sever(self, pooled: Pooled[C]) -> None:
        """Cut a lent connection: whoever waits on it fails at once."""
        pooled.condemned = pooled.severed = True
        self.connector.sever(pooled.raw)

    def drain(self) -> None:
        """Lend nothing that is open now again: idle connections go at once, lent ones when they come back."""
        for pooled in list(self._busy):
            pooled.condemned = True
        for pooled in self._withdraw(lambda _: True):
            self._drop(pooled)

    def send_away(self) -> None:
        """Keep nobody waiting for a node that is given up: in line, or for an opening. They may find another."""
        self._dismiss()
        for opening in list(self._openings):
            opening.abandon()

    async def tend(self, now_s: float) -> None:
        """End what is too old or too long idle. To be called every second or so."""
        self._refusals //= 2
        for pooled in list(self._busy):
            pooled.condemned = pooled.condemned or self._is_old(pooled, now_s)
        await self._end(
            self._withdraw(lambda pooled: self._is_old(pooled, now_s) or not self._lives(pooled.raw))
        )
        spare = self.size - self.limits.min_size
        await self._end(self._withdraw(lambda pooled: self._is_long_idle(pooled, now_s), at_most=spare))

    def resize(self, max_size: int) -> None:
        """Have at most so many connections from now on; those in line get what has become free by it."""
        self.limits = replace(self.limits, max_size=max_size)
        self._settle()

    async def empty(self) -> None:
        """End what is idle, and send those in line away: the pool is to lend no more for a while."""
        self._dismiss()
        await self._end(self._withdraw(lambda _: True))

    async def fill(self, timeout_s: float) -> None:
        """Open connections up to the minimum, at nobody's expense. Raises what opening raises."""
        while self._reserve_minimum():
            self.give(await self._open(self._runtime.clock() + timeout_s))

    def is_growing(self) -> bool:
        """Whether a connection is being opened."""
        return self._opening > 0

    async def grow(self, timeout_s: float) -> None:
        """Open one connection more, if there is room. Raises what opening raises."""
        with self._lock:
            has_place = self._reserve()
        if has_place:
            self.give(await self._open(self._runtime.clock() + timeout_s))

    async def close(self) -> None:
        """Lend nothing any more; end what is idle; send those in line away. What is lent ends when it comes back."""
        self._closed = True
        await self.empty()

    def evict_one(self) -> bool:
        """Close the connection that has been idle longest, for the sake of a sibling. Called under the lock."""
        try:
            self._forget(self._idle.pop(0))
        except IndexError:
            return False
        return True

    def _is_old(self, pooled: Pooled[C], now_s: float) -> bool:
        return now_s - pooled.opened_s >= self.limits.max_lifetime_s

    def _is_long_idle(self, pooled: Pooled[C], now_s: float) -> bool:
        pooled.idle_since_s = pooled.idle_since_s or now_s
        return now_s - pooled.idle_since_s >= self.limits.max_idle_s

    def _withdraw(self, unwanted: Callable[[Pooled[C]], bool], at_most: int | None = None) -> list[Pooled[C]]:
        """Take idle connections out of the pool, the longest idle first. They still count."""
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

    # ending

    def _dismiss(self) -> None:
        """Send those in line away."""
        with self._lock:
            while self._waiters:
                self._wake(self._waiters.popleft())

    async def _end(self, withdrawn: list[Pooled[C]]) -> None:
        """Say goodbye to each. Cancelled, drop the rest without a word."""
        try:
            while withdrawn:
                await self.connector.close(withdrawn[-1].raw)
                withdrawn.pop()
                self._uncount()
        finally:
            for pooled in withdrawn:
                self._drop(pooled)

    def _drop(self, pooled: Pooled[C]) -> None:
        self.connector.drop(pooled.raw)
        self._uncount()

    def _uncount(self) -> None:
        with self._lock:
            self.size -= 1
            self._bound.serve()

    def _forget(self, pooled: Pooled[C]) -> None:
        """Drop an idle connection on behalf of somebody who has use for its place."""
        self.connector.drop(pooled.raw)
        with self._lock:
            self.size -= 1

    def _settle(self) -> None:
        with self._lock:
            while self._closed and self.evict_one():
                pass
            self._bound.serve()

    # opening

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

    def _reserve_minimum(self) -> bool:
        with self._lock:
            return self.size < self.limits.min_size and self._bound.has_room() and self._reserve()

    async def _open(self, deadline_s: float) -> Pooled[C]:
        """Open the connection whose place is reserved, beside the caller: nobody waits on a node that is given up."""
        fill = partial(self._fill_place, deadline_s)
        opening = Aside(self._runtime, fill, self.give, "open")
        self._openings[opening] = self._runtime.clock()
        try:
            return await opening.result(LONGEST_OPENING_S)
        except Abandoned:
            raise PoolTimeout("the node is given up") from None
        finally:
            del self._openings[opening]

    async def _fill_place(self, deadline_s: float) -> Pooled[C]:
        """Open a connection. Whatever happens, the place is filled or free again."""
        pooled: Pooled[C] | None = None
        try:
            raw = await self.connector.open(self._time_left_s(deadline_s))
            pooled = await self._admitted(raw)
        finally:
            self._opened(pooled)
        return pooled

    def _time_left_s(self, deadline_s: float) -> float:
        left_s = deadline_s - self._runtime.clock()
        if left_s <= 0:
            raise PoolTimeout("no time is left to open a connection")
        return left_s

    async def _admitted(self, raw: C) -> Pooled[C]:
        try:
            if self.admit:
                await self.admit(raw)
        except BaseException:
            self.connector.drop(raw)
            raise
        return Pooled(raw, self, self._runtime.clock())

    def _opened(self, pooled: Pooled[C] | None) -> None:
        """Fill the place that was reserved, or free it."""
        with self._lock:
            self._opening -= 1
            if pooled:
                self._refusals = 0
                self._busy.add(pooled)
            else:
                self._refusals += 1
                self.size -= 1
            self._bound.serve()

    # waiting

    def _join_line(self) -> _Waiter[C]:
        """Stand in line; with luck served at once. Raises PoolClosed."""
        waiter: _Waiter[C] = _Waiter(self._runtime.signal())
        with self._lock:
            if self._closed:
                raise PoolClosed("the pool is closed")
            self._waiters.append(waiter)
            self._bound.waiting += 1
            self._bound.serve()
        return waiter

    async def _wait_in_line(self, waiter: _Waiter[C], deadline_s: float) -> None:
        """Wait until served, or until the pool closes. Raises PoolTimeout."""
        try:
            await waiter.signal.wait(max(0.0, deadline_s - self._runtime.clock()))
        except BaseException:
            self._pass_on(waiter)
            raise
        if self._left_line(waiter):
            raise PoolTimeout("no connection became free in time")

    def _left_line(self, waiter: _Waiter[C]) -> bool:
        """Leave the line unserved; False when somebody served this waiter meanwhile."""
        with self._lock:
            if waiter not in self._waiters:
                return False
            self._waiters.remove(waiter)
            self._bound.waiting -= 1
            return True

    def _pass_on(self, waiter: _Waiter[C]) -> None:
        """A cancelled waiter keeps nothing: neither a connection nor a place for one."""
        if self._left_line(waiter):
            return
        if waiter.pooled:
            self.give(waiter.pooled)
        elif waiter.has_place:
            self._opened(None)

    def _serve_first(self, pooled: Pooled[C] | None) -> None:
        """Hand a connection to the first in line, or the place that was reserved for one."""
        waiter = self._waiters.popleft()
        waiter.pooled = pooled
        waiter.has_place = pooled is None
        self._wake(waiter)

    def _wake(self, waiter: _Waiter[C]) -> None:
        self._bound.waiting -= 1
        waiter.signal.set()
