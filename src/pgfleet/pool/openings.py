"""The openings of one pool: each fills a place that is reserved, beside a caller who may leave before it ends."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from pgfleet.aside import Abandoned, Aside
from pgfleet.pool.pooled import Pooled
from pgfleet.pool.refusals import PoolTimeout
from pgfleet.ports import Runtime

if TYPE_CHECKING:
    from pgfleet.pool.pool import Pool

C = TypeVar("C")

GRACE_S = 0.05
"""For the connector to say by itself that its time is over: psycopg among threads takes two seconds at least."""


class Openings(Generic[C]):
    """Opens connections, and knows who waits for one. What is opened when he has left goes back to the pool."""

    def __init__(self, pool: Pool[C], runtime: Runtime) -> None:
        self._pool = pool
        self._runtime = runtime
        self._begun_s: dict[Aside[Pooled[C]], float] = {}

    def begun_s(self) -> list[float]:
        """Since when each caller waits."""
        return list(self._begun_s.values())

    def abandon(self) -> None:
        """Keep nobody waiting."""
        for opening in list(self._begun_s):
            opening.abandon()

    async def open(self, deadline_s: float) -> Pooled[C]:
        """Open the connection whose place is reserved, beside the caller: nobody waits on a node that is given up."""
        fill = partial(self._fill_place, deadline_s)
        try:
            opening = Aside(self._runtime, fill, self._pool.give, "open")
        except RuntimeError:  # the system has no thread left for us
            self._pool.opened(None)
            raise
        self._begun_s[opening] = self._runtime.clock()
        try:
            return await opening.result(max(0.0, deadline_s - self._runtime.clock()) + GRACE_S)
        except Abandoned:
            raise PoolTimeout("the node is given up") from None
        finally:
            del self._begun_s[opening]

    async def _fill_place(self, deadline_s: float) -> Pooled[C]:
        """Open a connection. Whatever happens, the place is filled or free again."""
        pooled: Pooled[C] | None = None
        try:
            raw = await self._pool.connector.open(self._time_left_s(deadline_s))
            pooled = await self._admitted(raw)
        finally:
            self._pool.opened(pooled)
        return pooled

    def _time_left_s(self, deadline_s: float) -> float:
        left_s = deadline_s - self._runtime.clock()
        if left_s <= 0:
            raise PoolTimeout("no time is left to open a connection")
        return left_s

    async def _admitted(self, raw: C) -> Pooled[C]:
        try:
            seen = await self._pool.admit(raw) if self._pool.admit else None
        except BaseException:
            self._pool.connector.drop(raw)
            raise
        pooled = Pooled(raw, self._pool, self._runtime.clock())
        pooled.seen = seen
        return pooled
