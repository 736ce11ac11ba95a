"""Acquire and release over drivers that do nothing: what is left is the router's own work.

Told in CPU time: nothing here waits, so on a quiet machine that is the time on the wall, and a busy one spoils it less.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from time import process_time

from hasql.pool_manager import BasePoolManager

from bench.fakes import POOL_SIZE, PRIMARY_PORT, FakeConnection, FakeDriver, FakePool, FakeRouter
from bench.figures import Figure
from pgfleet.settings import Dsn, NodeSettings, Settings

REPLICAS = (3, 100)
LIMIT_US = 1.6

Leases = Callable[[int], Awaitable[None]]
"""Takes and gives back a connection so many times."""


def run(*, quick: bool) -> list[Figure]:
    """Measure with few and with many replicas."""
    return [figure for replicas in REPLICAS for figure in asyncio.run(_figures(replicas, quick))]


async def _figures(replicas: int, quick: bool) -> list[Figure]:
    async with AsyncExitStack() as stack:
        read, fetch = await stack.enter_async_context(_pgfleet(replicas))
        hasql = await stack.enter_async_context(_hasql(replicas))
        costs = await _costs(
            {"read": read, "fetch": fetch, "hasql": hasql}, repetitions=7 if quick else 41, leases=2_000
        )
    return [
        Figure(f"read(), {replicas} replicas", costs["read"], "us", LIMIT_US, rival=costs["hasql"]),
        Figure(f"fetch(), {replicas} replicas", costs["fetch"], "us"),
    ]


async def _costs(contenders: dict[str, Leases], repetitions: int, leases: int) -> dict[str, float]:
    """The median cost of one lease in microseconds, interleaved and shuffled."""
    costs: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repetitions):
        for name in random.sample(list(contenders), len(contenders)):
            gc.collect()
            before_s = process_time()
            await contenders[name](leases)
            costs[name].append((process_time() - before_s) / leases * 1e6)
    return {name: median(taken[1:]) for name, taken in costs.items()}


async def org_cost_us(repetitions: int) -> tuple[float, float]:
    """What it adds to a `read()` to name an org that wrote long ago, and what a `read()` costs without, in us."""
    async with _router(3) as router:
        async with router.write(org_id=7):
            pass
        await asyncio.sleep(2.5)  # until every replica has seen it

        async def plain(leases: int) -> None:
            for _ in range(leases):
                async with router.read():
                    pass

        async def of_org(leases: int) -> None:
            for _ in range(leases):
                async with router.read(org_id=7):
                    pass

        costs = await _costs({"plain": plain, "of org": of_org}, repetitions, leases=2_000)
    return costs["of org"] - costs["plain"], costs["plain"]


@asynccontextmanager
async def _router(replicas: int) -> AsyncIterator[FakeRouter]:
    nodes = [_node("primary", PRIMARY_PORT)]
    nodes += [_node(f"replica-{number}", PRIMARY_PORT + number) for number in range(1, replicas + 1)]
    settings = Settings(nodes[0], tuple(nodes[1:]), use_replicas=True)
    async with FakeRouter(settings, driver="fake") as router:
        await _until_all_are_filled(router)
        yield router


@asynccontextmanager
async def _pgfleet(replicas: int) -> AsyncIterator[tuple[Leases, Leases]]:
    async with _router(replicas) as router:

        async def read(leases: int) -> None:
            for _ in range(leases):
                async with router.read():
                    pass

        async def fetch(leases: int) -> None:
            for _ in range(leases):
                await router.fetch("select 1")

        yield read, fetch


def _node(name: str, port: int) -> NodeSettings:
    dsn = Dsn.parse(f"postgresql://app@fake:{port}/fake")
    return NodeSettings(name, dsn, max_connections=POOL_SIZE, min_connections=1)


async def _until_all_are_filled(router: FakeRouter) -> None:
    """A router opens its connections beside its callers: wait, so that no lease is measured that opens one."""
    async with asyncio.timeout(10):
        while len(router.engine.board.table.names) < len(router.settings.replicas):
            await asyncio.sleep(0.01)
    for _ in router.settings.replicas:
        await router.fetch("select 1")


@asynccontextmanager
async def _hasql(replicas: int) -> AsyncIterator[Leases]:
    hosts = ",".join(f"fake-{number}:5432" for number in range(replicas + 1))
    manager: BasePoolManager[FakePool, FakeConnection] = BasePoolManager(
        f"postgresql://app:secret@{hosts}/fake", driver=FakeDriver()
    )
    await manager.ready(masters_count=1, replicas_count=replicas)

    async def read(leases: int) -> None:
        for _ in range(leases):
            async with manager.acquire_replica():
                pass

    try:
        yield read
    finally:
        await manager.close()  # type: ignore[no-untyped-call]  # hasql's own annotations stop here
