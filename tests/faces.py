"""Every face with every driver behind one asynchronous shape, so that each test of the router is written once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pytest

from pgfleet import AsyncReplicaRouter, ReplicaRouter, Settings
from pgfleet.local import LocalFleet
from tests.conftest import INSTALLATIONS

T = TypeVar("T")

PORT = "select inet_server_port()"
"""Says which server answers, whatever address led to it."""


def environ(fleet: LocalFleet, /, **changes: str | None) -> dict[str, str]:
    """A fleet's environment, without spare connections, with `changes`; None takes a variable away."""
    return _changed(fleet.environ(), changes)


def plain_environ(fleet: LocalFleet, /, **changes: str | None) -> dict[str, str]:
    """The same for the plain role."""
    return _changed(fleet.environ(plain=True), changes)


def _changed(given: dict[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    numbers = [name.split("_")[2] for name in given if name.startswith("READ_REPLICA_")]
    spares = {"DB_MIN_CONNECTIONS": "0"} | {f"READ_REPLICA_{n}_MIN_CONNECTIONS": "0" for n in numbers}
    merged = {**given, **spares, **changes}
    return {name: value for name, value in merged.items() if value is not None}


class Conn:
    """A lent connection: `raw` is the driver's own."""

    def __init__(self, face: Face, raw: Any) -> None:
        self.face = face
        self.raw = raw

    async def rows(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        """Run a statement with `$1` placeholders; its rows as tuples."""
        return await self.face.rows(self.raw, sql, args)

    async def value(self, sql: str, *args: Any) -> Any:
        """The first column of the first row."""
        return (await self.rows(sql, *args))[0][0]

    async def close(self) -> None:
        """End the connection behind the router's back."""
        await self.face.call(self.raw.close)


class Router:
    """A router of any face; `raw` is the product's own, for the calls that need no waiting."""

    def __init__(self, face: Face, raw: Any) -> None:
        self.face = face
        self.raw = raw

    async def fetch(self, sql: str, *args: Any, **options: Any) -> list[Any]:
        """As the router's, with `$1` placeholders on every driver."""
        rows: list[Any] = await self.face.call(self.raw.fetch, self.face.sql(sql), *args, **options)
        return rows

    async def value(self, sql: str, *args: Any, **options: Any) -> Any:
        """`fetch_value`."""
        return await self.face.call(self.raw.fetch_value, self.face.sql(sql), *args, **options)

    async def execute(self, sql: str, *args: Any, **options: Any) -> str:
        """As the router's."""
        tag: str = await self.face.call(self.raw.execute, self.face.sql(sql), *args, **options)
        return tag

    async def run_read(self, fn: Callable[[Conn], Any], **options: Any) -> Any:
        """As the router's; `fn` is given a `Conn` and awaited on every face."""
        if not self.face.threaded:
            return await self.raw.run_read(lambda raw: fn(Conn(self.face, raw)), **options)
        loop = asyncio.get_running_loop()

        def work(raw: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(fn(Conn(self.face, raw)), loop).result()

        return await self.face.call(partial(self.raw.run_read, work, **options))

    @asynccontextmanager
    async def read(self, **options: Any) -> AsyncIterator[Conn]:
        """As the router's."""
        async with self.face.entered(self.raw.read(**options)) as conn:
            yield Conn(self.face, conn)

    @asynccontextmanager
    async def write(self, **options: Any) -> AsyncIterator[Conn]:
        """As the router's."""
        async with self.face.entered(self.raw.write(**options)) as conn:
            yield Conn(self.face, conn)

    async def close(self) -> None:
        """End it."""
        await self.face.call(self.raw.close)

    def open_connections(self) -> int:
        """Of all pools together."""
        stats = [pool for pools in self.raw.pool_stats().values() for pool in pools]
        return sum(pool.active + pool.idle for pool in stats)

    def reason(self, name: str, **intent: Any) -> str | None:
        """Why a node is no candidate now."""
        nodes = {node.name: node for node in self.raw.explain(**intent).nodes}
        return str(nodes[name].reason) if nodes[name].reason else None

    def candidates(self, **intent: Any) -> tuple[str, ...]:
        """The nodes that such a read could take now."""
        candidates: tuple[str, ...] = self.raw.explain(**intent).candidates
        return candidates


@dataclass(frozen=True)
class Face:
    """One face of the router with one driver."""

    name: str
    driver: str
    threaded: bool = False

    @asynccontextmanager
    async def open(self, settings: Mapping[str, str] | Settings) -> AsyncIterator[Router]:
        """An open router of these settings."""
        chosen = settings if isinstance(settings, Settings) else Settings.from_env(settings)
        raw: Any = (ReplicaRouter if self.threaded else AsyncReplicaRouter)(chosen, self.driver)
        router = Router(self, raw)
        await self.call(raw.open)
        try:
            yield router
        finally:
            await router.close()

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call what blocks on the threaded face and is awaited on the other."""
        if not self.threaded:
            return await function(*args, **kwargs)
        within = copy_context()  # as asyncio.to_thread has it: the session is there too
        work = asyncio.get_running_loop().run_in_executor(
            _THREADS, partial(within.run, function, *args, **kwargs)
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait(
                [work]
            )  # a thread cannot be cancelled; what it does ends before the test goes on
            raise

    @asynccontextmanager
    async def entered(self, lease: Any) -> AsyncIterator[Any]:
        """`with` or `async with`."""
        if not self.threaded:
            async with lease as conn:
                yield conn
            return
        conn = await self.call(lease.__enter__)
        try:
            yield conn
        except BaseException as error:
            if not await self.call(lease.__exit__, type(error), error, error.__traceback__):
                raise
        else:
            await self.call(lease.__exit__, None, None, None)

    async def rows(self, conn: Any, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """All rows of a statement on the driver's own connection."""
        if self.driver == "asyncpg":
            return [tuple(row) for row in await conn.fetch(sql, *args)]
        cursor = await self.call(conn.execute, self.sql(sql), args or None)
        return list(await self.call(cursor.fetchall)) if cursor.description else []

    def sql(self, sql: str) -> str:
        """The statement with the driver's placeholders."""
        return sql if self.driver == "asyncpg" else re.sub(r"\$\d", "%s", sql)

    def __str__(self) -> str:
        return self.name


def placed(newest: Sequence[Face], others: Sequence[Face] = ()) -> pytest.MarkDecorator:
    """`newest` faces on the wheel's PostgreSQL, `others` on every other that is installed: `face`, `placed_fleet`."""
    first, *rest = INSTALLATIONS or [None]
    pairs = [(first, face) for face in newest] + [(path, face) for path in rest for face in others]
    ids = [f"{path.parent.name if path else 'found'}-{face}" for path, face in pairs]
    return pytest.mark.parametrize(("pg_bin", "face"), pairs, ids=ids)


_THREADS = ThreadPoolExecutor(64, "caller")

FACES = (
    Face("tasks-asyncpg", "asyncpg"),
    Face("tasks-psycopg", "psycopg"),
    Face("threads-psycopg", "psycopg", threaded=True),
)


async def aside(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Do what blocks while the event loop, and the routers on it, go on."""
    return await asyncio.to_thread(function, *args, **kwargs)


def sqlstate(error: BaseException) -> str | None:
    """The code of the server's error, on any driver."""
    code: str | None = getattr(error, "sqlstate", None)
    return code


async def ports_of(router: Router, reads: int, **options: Any) -> list[int]:
    """The servers that answer so many reads, one after the other."""
    return [await router.value(PORT, **options) for _ in range(reads)]


def port(fleet: LocalFleet, name: str) -> int:
    """Where a node listens."""
    return fleet.node(name).port
