"""Reads of what was just written: how many are stale, and how many are still served by replicas.

One replica of three replays 200 ms late. 200 orgs write a fifth of the time; whoever reads knows what was acknowledged
to the org before. Against: every read to the primary, reads pinned to the primary for 2 s after a write, and hasql.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import monotonic, perf_counter
from typing import Any

import asyncpg
from hasql.asyncpg import PoolManager as HasqlOfAsyncpg

from bench.contenders import POOL_SIZE, environ, hasql
from bench.fake import org_cost_us
from bench.figures import Figure
from bench.tokens import across_processes
from pgfleet import AsyncReplicaRouter
from pgfleet.core.marks import WriteMarks
from pgfleet.local import LocalFleet

ORGS = 200
TASKS = 32
WRITES = 0.2
LATE_S = 0.2
PIN_S = 2.0
READS = 100_000
TABLE = "bench_register"
READ = f"select inet_server_port(), version from {TABLE} where org = $1"
WRITE = f"update {TABLE} set version = version + 1 where org = $1 returning version"

CONFLICTS = (asyncpg.SerializationError, asyncpg.PostgresConnectionError)
"""What replay does to who reads on a replica that is late. A router of ours reads elsewhere then."""

RATES = (1, 100, 1000)
"""Writes a second, each followed by a read of the same org at once."""
MOST_QUERIES = 0.2
LEAST_SHARE = 90.0
MOST_ORG_US = 1.0
MOST_MIB = 16.0
MANY_ORGS = 10_000_000


@dataclass
class Tally:
    """What one contender's readers saw."""

    reads: int = 0
    stale: int = 0
    failed: int = 0
    on_replicas: int = 0
    read_s: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the reads, in percent."""
        return 100 * self.on_replicas / self.reads


@dataclass
class Contender:
    """Somebody who reads and writes registers by their org."""

    read: Callable[[int], Awaitable[Any]]
    write: Callable[[int], Awaitable[int]]


def run(*, quick: bool) -> list[Figure]:
    """Measure on a fleet of its own."""
    with LocalFleet.temporary() as fleet:
        _prepare(fleet)
        with _late(fleet):
            figures = asyncio.run(_mixed(fleet, READS // 50 if quick else READS))
        figures += [figure for rate in RATES for figure in asyncio.run(_after_writes(fleet, rate, quick))]
        figures += across_processes(fleet, quick=quick)
    return [*figures, asyncio.run(_org_cost(quick)), *_memory(quick)]


def _prepare(fleet: LocalFleet) -> None:
    fleet.sql(
        fleet.primary, f"create table {TABLE} (org int primary key, version bigint) with (fillfactor = 50)"
    )
    fleet.sql(fleet.primary, f"insert into {TABLE} select n, 0 from generate_series(0, {ORGS - 1}) n")


@contextmanager
def _late(fleet: LocalFleet) -> Iterator[None]:
    fleet.lag(fleet.names[1], LATE_S)
    try:
        yield
    finally:
        fleet.lag(fleet.names[1], 0)


# reads and writes of many orgs


async def _mixed(fleet: LocalFleet, reads: int) -> list[Figure]:
    names = ("pgfleet", "to the primary", f"pinned for {PIN_S:g} s", "hasql")
    tallies = {name: await _play(fleet, OPENERS[name](fleet), reads) for name in names}
    ours = tallies.pop("pgfleet")
    rivals = ", ".join(f"{name} {100 * t.stale / t.reads:.1f} %" for name, t in tallies.items())
    shares = ", ".join(f"{name} {t.share:.0f} %" for name, t in tallies.items())
    p50s = ", ".join(f"{name} {1000 * median(t.read_s):.2f}" for name, t in tallies.items())
    return [
        Figure(
            f"stale reads of {ours.reads}", ours.stale, "", 0, rival=tallies["hasql"].stale, detail=rivals
        ),
        Figure("reads still on replicas", ours.share, "%", LEAST_SHARE, at_least=True, detail=shares),
        Figure("a read, p50", 1000 * median(ours.read_s), "ms", detail=p50s),
        Figure("reads that failed", ours.failed, "", 0, rival=tallies["hasql"].failed),
    ]


async def _play(fleet: LocalFleet, opener: AbstractAsyncContextManager[Contender], reads: int) -> Tally:
    tally, primary = Tally(), fleet.node(fleet.primary).port
    async with opener as contender:
        acknowledged = [0] * ORGS

        async def client(seed: int) -> None:
            rng = random.Random(seed)
            while tally.reads < reads:
                org = rng.randrange(ORGS)
                if rng.random() < WRITES:
                    acknowledged[org] = max(acknowledged[org], await contender.write(org))
                    continue
                known, began_s = acknowledged[org], perf_counter()
                try:
                    port, version = await contender.read(org)
                except CONFLICTS:
                    tally.failed += 1
                    continue
                tally.read_s.append(perf_counter() - began_s)
                tally.reads += 1
                tally.stale += version < known
                tally.on_replicas += port != primary

        await asyncio.gather(*map(client, range(TASKS)))
    return tally


@asynccontextmanager
async def _pgfleet(fleet: LocalFleet) -> AsyncIterator[Contender]:
    async with AsyncReplicaRouter.from_env(environ(fleet), driver="asyncpg") as router:
        yield _of(router)


def _of(router: AsyncReplicaRouter[Any]) -> Contender:
    async def read(org: int) -> Any:
        return (await router.fetch(READ, org, org_id=org))[0]

    async def write(org: int) -> int:
        async with router.write(org_id=org) as conn:
            version: int = await conn.fetchval(WRITE, org)
            return version

    return Contender(read, write)


@asynccontextmanager
async def _primary_alone(fleet: LocalFleet) -> AsyncIterator[Contender]:
    async with asyncpg.create_pool(
        fleet.dsn(fleet.primary), min_size=POOL_SIZE, max_size=3 * POOL_SIZE
    ) as pool:
        yield Contender(lambda org: pool.fetchrow(READ, org), lambda org: pool.fetchval(WRITE, org))


@asynccontextmanager
async def _pinned(fleet: LocalFleet) -> AsyncIterator[Contender]:
    """What one writes by hand: the org's reads go to the primary for a while after each of its writes."""
    async with _hasql_manager(fleet) as manager:
        wrote_s = [-PIN_S] * ORGS

        async def read(org: int) -> Any:
            pinned = monotonic() - wrote_s[org] < PIN_S
            async with manager.acquire_master() if pinned else manager.acquire_replica() as conn:
                return await conn.fetchrow(READ, org)

        async def write(org: int) -> int:
            async with manager.acquire_master() as conn:
                version: int = await conn.fetchval(WRITE, org)
            wrote_s[org] = monotonic()
            return version

        yield Contender(read, write)


@asynccontextmanager
async def _hasql(fleet: LocalFleet) -> AsyncIterator[Contender]:
    async with _hasql_manager(fleet) as manager:

        async def read(org: int) -> Any:
            async with manager.acquire_replica() as conn:
                return await conn.fetchrow(READ, org)

        async def write(org: int) -> int:
            async with manager.acquire_master() as conn:
                version: int = await conn.fetchval(WRITE, org)
                return version

        yield Contender(read, write)


def _hasql_manager(fleet: LocalFleet) -> AbstractAsyncContextManager[Any]:
    return hasql(HasqlOfAsyncpg, fleet)


OPENERS: dict[str, Callable[[LocalFleet], AbstractAsyncContextManager[Contender]]] = {
    "pgfleet": _pgfleet,
    "to the primary": _primary_alone,
    f"pinned for {PIN_S:g} s": _pinned,
    "hasql": _hasql,
}


# the first read after a write


async def _after_writes(fleet: LocalFleet, rate: int, quick: bool) -> list[Figure]:
    """Write at a steady pace, and read each time at once."""
    seconds = 2.0 if quick else 20.0 if rate == 1 else 10.0
    async with AsyncReplicaRouter.from_env(environ(fleet), driver="asyncpg") as router:
        contender, board = _of(router), router.engine.board
        primary, spent_s, on_replicas = fleet.node(fleet.primary).port, list[float](), 0
        await asyncio.sleep(1.5)
        sampled, writes = board.samples, 0

        async def caller(number: int) -> None:
            nonlocal writes, on_replicas
            due_s = began_s + number / rate
            while due_s < began_s + seconds:
                await asyncio.sleep(due_s - monotonic())
                org = writes % ORGS
                writes += 1
                version = await contender.write(org)
                start_s = perf_counter()
                port, seen = await contender.read(org)
                spent_s.append(perf_counter() - start_s)
                on_replicas += port != primary
                assert seen >= version, "a stale read"
                due_s += callers / rate

        callers, began_s = min(rate, TASKS), monotonic()
        await asyncio.gather(*map(caller, range(callers)))
        queries = (board.samples - sampled) / writes
    p50_s, p99_s = median(spent_s), quantiles(spent_s, n=100)[98]
    what = f"{rate} writes/s, read at once"
    told = f"{100 * on_replicas / len(spent_s):.0f} % on replicas, {len(spent_s) / seconds:.0f} pairs/s"
    return [
        Figure(f"{what}: p50", 1000 * p50_s, "ms", detail=f"p99 {1000 * p99_s:.2f} ms, {told}"),
        Figure(f"{what}: primary queries a write", queries, "q", MOST_QUERIES if rate == 100 else None),
    ]


# what it costs who does not need it


async def _org_cost(quick: bool) -> Figure:
    added_us, plain_us = await org_cost_us(repetitions=7 if quick else 41)
    return Figure(
        "org_id of an org that wrote long ago, added",
        added_us,
        "us",
        MOST_ORG_US,
        detail=f"to {plain_us:.2f} us",
    )


def _memory(quick: bool) -> list[Figure]:
    """The table of all orgs, after as many distinct writers."""
    orgs, marks = MANY_ORGS // 100 if quick else MANY_ORGS, WriteMarks()
    marks.end(marks.begin(0), 1.0)
    before = _bytes(marks)
    for org in range(orgs):
        marks.end(marks.begin(org), 1.0 + org)
    after = _bytes(marks)
    return [
        Figure(f"the marks of {orgs:,} orgs", after / (1 << 20), "MiB", MOST_MIB),
        Figure("their growth over as many writes", float(after - before), "", 0),
    ]


def _bytes(marks: WriteMarks) -> int:
    assert marks._marks is not None
    return marks._marks.itemsize * len(marks._marks) + 16 * len(marks._open)


logging.getLogger("hasql").setLevel(logging.ERROR)
