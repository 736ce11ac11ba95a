"""Who calls: pgfleet's two faces with its two drivers, behind one shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Protocol

from pgfleet.aio import AsyncReplicaRouter
from pgfleet.drill.calls import Answer, Kind
from pgfleet.drill.load import Ask
from pgfleet.router import ReplicaRouter
from pgfleet.runtimes import drive
from pgfleet.settings import Settings

TABLE = "pgfleet_drill"
HOT_TABLE = "pgfleet_drill_hot"
"""Vacuumed all the time, for conflicts with recovery."""
REGISTERS, LISTS = "pgfleet_drill_registers", "pgfleet_drill_lists"
"""What `drill consistency` writes."""

READ = f"select inet_server_port(), (select max(n) from {TABLE})"  # noqa: S608 (constants of this file)
WRITE = f"insert into {TABLE} (n) values ({{}}) returning inet_server_port(), n"  # noqa: S608
HOLDING_READ = (
    f"select inet_server_port(), (select max(n) from {TABLE}), "  # noqa: S608
    f"(select count(*) from {HOT_TABLE}), pg_sleep(0.04)"
)
"""Keeps its snapshot for a while, as reports do."""

SPARE_THREADS = 8
"""For what is not called at a pace."""

SLOW_S = 5
SLOW = f"select inet_server_port(), null::bigint, pg_sleep({SLOW_S})"
PLACEHOLDERS = {"asyncpg": "$1", "psycopg": "%s"}


@dataclass(frozen=True, slots=True)
class Reading:
    """How the reads of a drill are made."""

    sql: str = READ
    max_lag_s: float | None = None
    """The bound of its plain callers; None: the router's own."""
    bounded_s: float = 1.0
    """The bound of its bounded ones."""

    @property
    def options(self) -> dict[str, Any]:
        """For the router."""
        return {} if self.max_lag_s is None else {"max_lag_s": self.max_lag_s}


class Client(Protocol):
    """Somebody who reads and writes on a fleet."""

    asks: Mapping[Kind, Ask]

    def candidates(self) -> frozenset[str] | None:
        """The nodes that a plain read would be sent to now; None: it does not tell."""


Reader = Callable[[Any], Answer]
"""What a row says: who answered, and a number."""


def by_port(names: Mapping[int, str]) -> Reader:
    """The rows of the statements above: the port of the server, and a number."""

    def read(row: Any) -> Answer:
        return Answer(names.get(row[0], f"port {row[0]}"), row[1])

    return read


@dataclass
class Router:
    """A router of pgfleet at work."""

    raw: Any
    driver: str
    read: Reader
    reading: Reading
    hand_over: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None
    """Takes what blocks to a thread; None on the face that does not block."""
    hedge: bool = False
    asks: Mapping[Kind, Ask] = field(init=False)

    def __post_init__(self) -> None:
        numbers = count(1)
        bounded = partial(self._fetch, self.reading.sql, max_lag_s=self.reading.bounded_s)
        self.asks = {
            Kind.FETCH: partial(self._fetch, self.reading.sql, **self.reading.options),
            Kind.BOUNDED: bounded,
            Kind.SLOW: partial(self._fetch, SLOW),
            Kind.BLOCK: self._block,
            Kind.WRITE: lambda: self._write(next(numbers)),
        }

    def candidates(self) -> frozenset[str]:
        """By the router's own word."""
        return frozenset(self.raw.explain(**self.reading.options).candidates)

    async def from_node(self, name: str, sql: str) -> Any:
        """The first row of a statement on this very node."""
        fetch = partial(self.raw.engine.fetch_from, name, sql)
        rows = await (self.hand_over(lambda: drive(fetch())) if self.hand_over else fetch())
        return rows[0]

    async def _fetch(self, sql: str, **options: Any) -> Answer:
        rows = await self._do(partial(self.raw.fetch, sql, hedge=self.hedge, **options))
        return self.read(rows[0] if rows else None)

    async def _block(self) -> Answer:
        lease = self.raw.read(**self.reading.options)
        return self.read(await self._do(partial(self._in_lease, lease, self.reading.sql)))

    async def _write(self, number: int) -> Answer:
        sql = WRITE.format(PLACEHOLDERS[self.driver])
        return self.read(await self._do(partial(self._in_lease, self.raw.write(), sql, number)))

    async def _do(self, call: Callable[[], Any]) -> Any:
        return await (self.hand_over(call) if self.hand_over else call())

    def _in_lease(self, lease: Any, sql: str, *args: Any) -> Any:
        """The first row of a statement on a lent connection; to be awaited on the face that does not block."""
        return row_in_plain_lease(lease, sql, args) if self.hand_over else row_in_lease(lease, sql, args)


def row_in_plain_lease(lease: Any, sql: str, args: tuple[Any, ...]) -> Any:
    """The first row of a statement on a connection that is lent by `with`."""
    with lease as conn:
        return conn.execute(sql, args or None).fetchone()


async def row_in_lease(lease: Any, sql: str, args: tuple[Any, ...]) -> Any:
    """The first row of a statement on a connection that is lent by `async with`, of either driver."""
    async with lease as conn:
        if hasattr(conn, "fetchrow"):
            return await conn.fetchrow(sql, *args)
        return await (await conn.execute(sql, args or None)).fetchone()


@asynccontextmanager
async def pgfleet(
    settings: Settings, read: Reader, reading: Reading, *, driver: str, threads: int = 0, hedge: bool = False
) -> AsyncIterator[Router]:
    """A router of these settings; with `threads` the face that blocks, in so many of them."""
    if not threads:
        router: AsyncReplicaRouter[Any] = AsyncReplicaRouter(settings, driver)
        async with router:
            yield Router(router, driver, read, reading, hedge=hedge)
        return
    loop = asyncio.get_running_loop()
    executor = ThreadPoolExecutor(threads, "caller")
    blocking: ReplicaRouter[Any] = ReplicaRouter(settings, driver)
    try:
        await loop.run_in_executor(None, blocking.open)
        yield Router(blocking, driver, read, reading, partial(loop.run_in_executor, executor), hedge)
    finally:
        await loop.run_in_executor(None, blocking.close)
        executor.shutdown(wait=False, cancel_futures=True)
