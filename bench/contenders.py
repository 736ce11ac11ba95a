"""Who is measured: pgfleet, and what one would use instead. All pools of all of them have the same size.

Each is an asynchronous context manager that gives the one read to be timed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import cycle
from typing import Any

import asyncpg
import psycopg
from hasql.asyncpg import PoolManager as HasqlOfAsyncpg
from hasql.psycopg3 import PoolManager as HasqlOfPsycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from bench.measure import BlockingRead, Read
from pgfleet import AsyncReplicaRouter, ReplicaRouter
from pgfleet.local import LocalFleet

SQL = "select 1"
POOL_SIZE = 11
"""Connections to each replica: 33 in all, for 32 tasks."""


def environ(fleet: LocalFleet) -> dict[str, str]:
    """The fleet for a router of pgfleet, every pool of the common size."""
    sizes = {
        f"READ_{name.upper().replace('-', '_')}_{bound}_CONNECTIONS": str(POOL_SIZE)
        for name in fleet.names[1:]
        for bound in ("MIN", "MAX")
    }
    return fleet.environ() | sizes


def replica_dsns(fleet: LocalFleet) -> list[str]:
    return [fleet.dsn(name) for name in fleet.names[1:]]


def hasql_dsn(fleet: LocalFleet) -> str:
    """All nodes in the one string that hasql takes."""
    first, *others = [fleet.dsn(name) for name in fleet.names]
    prefix, _, database = first.rpartition("/")
    hosts = [prefix, *(dsn.rpartition("@")[2].partition("/")[0] for dsn in others)]
    return f"{','.join(hosts)}/{database}"


# asyncpg


@asynccontextmanager
async def asyncpg_pools(fleet: LocalFleet) -> AsyncIterator[list[asyncpg.Pool]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(asyncpg.create_pool(dsn, min_size=POOL_SIZE, max_size=POOL_SIZE))
            for dsn in replica_dsns(fleet)
        ]


@asynccontextmanager
async def asyncpg_by_hand(fleet: LocalFleet) -> AsyncIterator[Read]:
    async with asyncpg_pools(fleet) as pools:
        turns = cycle(pools)

        async def read() -> None:
            async with next(turns).acquire() as conn:
                await conn.fetchval(SQL)

        yield read


@asynccontextmanager
async def asyncpg_pgfleet(fleet: LocalFleet) -> AsyncIterator[Read]:
    async with AsyncReplicaRouter.from_env(environ(fleet), driver="asyncpg") as router:

        async def read() -> None:
            async with router.read() as conn:
                await conn.fetchval(SQL)

        yield read


@asynccontextmanager
async def asyncpg_hasql(fleet: LocalFleet) -> AsyncIterator[Read]:
    async with hasql(HasqlOfAsyncpg, fleet) as manager:

        async def read() -> None:
            async with manager.acquire_replica() as conn:
                await conn.fetchval(SQL)

        yield read


@asynccontextmanager
async def asyncpg_pool_fetch(fleet: LocalFleet) -> AsyncIterator[Read]:
    """One `asyncpg.Pool` on one replica, as large as the pools of the others together."""
    size = POOL_SIZE * len(replica_dsns(fleet))
    async with asyncpg.create_pool(replica_dsns(fleet)[0], min_size=size, max_size=size) as pool:
        yield partial(pool.fetch, SQL)


@asynccontextmanager
async def asyncpg_raw_fetch(fleet: LocalFleet) -> AsyncIterator[Read]:
    conn = await asyncpg.connect(replica_dsns(fleet)[0])
    try:
        yield partial(conn.fetch, SQL)
    finally:
        await conn.close()


@asynccontextmanager
async def asyncpg_pgfleet_fetch(fleet: LocalFleet) -> AsyncIterator[Read]:
    async with AsyncReplicaRouter.from_env(environ(fleet), driver="asyncpg") as router:
        yield partial(router.fetch, SQL)


# psycopg


async def psycopg_read(conn: psycopg.AsyncConnection[Any]) -> None:
    cursor = await conn.execute(SQL)
    await cursor.fetchone()


@asynccontextmanager
async def psycopg_by_hand(fleet: LocalFleet, *, autocommit: bool) -> AsyncIterator[Read]:
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(
                AsyncConnectionPool(
                    dsn,
                    min_size=POOL_SIZE,
                    max_size=POOL_SIZE,
                    kwargs={"autocommit": autocommit},
                    open=False,
                )
            )
            for dsn in replica_dsns(fleet)
        ]
        for pool in pools:
            await pool.wait()
        turns = cycle(pools)

        async def read() -> None:
            async with next(turns).connection() as conn:
                await psycopg_read(conn)

        yield read


@asynccontextmanager
async def psycopg_pgfleet(fleet: LocalFleet) -> AsyncIterator[Read]:
    async with AsyncReplicaRouter.from_env(environ(fleet)) as router:

        async def read() -> None:
            async with router.read() as conn:
                await psycopg_read(conn)

        yield read


@asynccontextmanager
async def psycopg_hasql(fleet: LocalFleet, *, autocommit: bool) -> AsyncIterator[Read]:
    async with hasql(HasqlOfPsycopg, fleet, kwargs={"autocommit": autocommit}) as manager:

        async def read() -> None:
            async with manager.acquire_replica() as conn:
                await psycopg_read(conn)

        yield read


# psycopg, in threads


@contextmanager
def threads_by_hand(fleet: LocalFleet, *, autocommit: bool) -> Iterator[BlockingRead]:
    with ExitStack() as stack:
        pools = [
            stack.enter_context(
                ConnectionPool(
                    dsn,
                    min_size=POOL_SIZE,
                    max_size=POOL_SIZE,
                    kwargs={"autocommit": autocommit},
                    open=False,
                )
            )
            for dsn in replica_dsns(fleet)
        ]
        for pool in pools:
            pool.wait()
        turns = cycle(pools)

        def read() -> None:
            with next(turns).connection() as conn:
                conn.execute(SQL).fetchone()

        yield read


@contextmanager
def threads_pgfleet(fleet: LocalFleet) -> Iterator[BlockingRead]:
    with ReplicaRouter.from_env(environ(fleet)) as router:

        def read() -> None:
            with router.read() as conn:
                conn.execute(SQL).fetchone()

        yield read


# hasql


@asynccontextmanager
async def hasql(manager_of: Any, fleet: LocalFleet, **pool_options: Any) -> AsyncIterator[Any]:
    """hasql with its defaults. It adds one connection to each pool by itself, for its own checks."""
    sizes = {"min_size": POOL_SIZE, "max_size": POOL_SIZE}
    manager = manager_of(hasql_dsn(fleet), pool_factory_kwargs=sizes | pool_options, fallback_master=True)
    await manager.ready(masters_count=1, replicas_count=len(replica_dsns(fleet)))
    try:
        yield manager
    finally:
        await manager.close()
