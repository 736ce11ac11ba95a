"""Replicas killed under a steady load: what the callers notice, and when reads are back."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from time import monotonic

from hasql.asyncpg import PoolManager as HasqlOfAsyncpg
from hasql.psycopg3 import PoolManager as HasqlOfPsycopg

from bench.contenders import environ, hasql
from bench.figures import Figure
from bench.load import CALLERS, ReadPort, View, load
from pgfleet import AsyncReplicaRouter, ReplicaRouter
from pgfleet.local import LocalFleet

SQL = "select inet_server_port()"
QUIET_S = 1.5
"""Before a fault, and between faults: long enough for a probe of everybody."""
OUTAGE_S = 3.0
RETURN_S = 4.0
VICTIM = "replica-2"


@dataclass(frozen=True, slots=True)
class Story:
    """What the callers saw of one run: a replica dies and returns, then all of them die."""

    one_down: View
    """From the death of the one to some time after its return."""
    back_s: float
    """From the moment that the replica takes connections again to its first read, once it has its part of them."""
    all_down: View
    """From the first of the deaths on."""
    part_on_primary: float
    """Of the reads once all replicas are dead."""


@asynccontextmanager
async def _pgfleet(fleet: LocalFleet, driver: str) -> AsyncIterator[ReadPort]:
    async with AsyncReplicaRouter.from_env(environ(fleet), driver=driver) as router:
        yield partial(router.fetch_value, SQL)


@asynccontextmanager
async def _pgfleet_in_threads(fleet: LocalFleet) -> AsyncIterator[ReadPort]:
    loop = asyncio.get_running_loop()
    with ReplicaRouter.from_env(environ(fleet)) as router, ThreadPoolExecutor(CALLERS) as threads:

        async def read() -> int:
            port: int = await loop.run_in_executor(threads, router.fetch_value, SQL)
            return port

        yield read


@asynccontextmanager
async def _hasql_of_asyncpg(fleet: LocalFleet) -> AsyncIterator[ReadPort]:
    async with hasql(HasqlOfAsyncpg, fleet) as manager:

        async def read() -> int:
            async with manager.acquire_replica() as conn:
                port: int = await conn.fetchval(SQL)
                return port

        yield read


@asynccontextmanager
async def _hasql_of_psycopg(fleet: LocalFleet) -> AsyncIterator[ReadPort]:
    async with hasql(HasqlOfPsycopg, fleet, kwargs={"autocommit": True}) as manager:

        async def read() -> int:
            async with manager.acquire_replica() as conn:
                ((port,),) = await (await conn.execute(SQL)).fetchall()
                return int(port)

        yield read


Opener = Callable[[LocalFleet], AbstractAsyncContextManager[ReadPort]]
PAIRS: dict[str, tuple[Opener, Opener | None]] = {
    "asyncpg": (partial(_pgfleet, driver="asyncpg"), _hasql_of_asyncpg),
    "psycopg": (partial(_pgfleet, driver="psycopg"), _hasql_of_psycopg),
    "psycopg, threads": (_pgfleet_in_threads, None),
}


def run(*, quick: bool) -> list[Figure]:
    """Every contender lives through the faults some times. Of those the worst counts."""
    logging.disable(logging.CRITICAL)  # an outage is loud by design
    try:
        with LocalFleet.temporary() as fleet, _other_process() as hand:
            tell = partial(_stories, fleet, hand, 1 if quick else 3)
            told = {what: (tell(ours), tell(hasqls)) for what, (ours, hasqls) in PAIRS.items()}
    finally:
        logging.disable(logging.NOTSET)
    return [figure for what, (ours, hasqls) in told.items() for figure in _figures(what, ours, hasqls)]


def _other_process() -> ProcessPoolExecutor:
    """Where faults are caused, so that it costs the callers nothing."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _stories(fleet: LocalFleet, hand: Executor, repetitions: int, opener: Opener | None) -> list[Story]:
    return [asyncio.run(_story(fleet, hand, opener)) for _ in range(repetitions)] if opener else []


async def _story(fleet: LocalFleet, hand: Executor, opener: Opener) -> Story:
    async def cause(verb: str, *names: str) -> None:
        for name in names:
            await asyncio.get_running_loop().run_in_executor(hand, _do, fleet.directory, verb, name)

    await cause("start", *fleet.names)
    async with opener(fleet) as read, load(read) as under_way:
        await asyncio.sleep(QUIET_S)
        killed_s = monotonic()
        await cause("kill", VICTIM)
        await asyncio.sleep(OUTAGE_S)
        await cause("start", VICTIM)
        returned_s = monotonic()
        await asyncio.sleep(RETURN_S)
        all_killed_s = monotonic()
        await cause("kill", *fleet.names[1:])
        all_dead_s = monotonic()
        await asyncio.sleep(OUTAGE_S)
    return Story(
        one_down=under_way.between(killed_s, all_killed_s),
        back_s=under_way.between(returned_s, all_killed_s).back_on(fleet.node(VICTIM).port) - returned_s,
        all_down=under_way.between(all_killed_s, inf),
        part_on_primary=under_way.between(all_dead_s, inf).part_on(fleet.node(fleet.primary).port),
    )


def _do(directory: Path, verb: str, name: str) -> None:
    getattr(LocalFleet.attach(directory), verb)(name)


def _figures(what: str, ours: Sequence[Story], hasqls: Sequence[Story]) -> list[Figure]:
    def worst(
        question: str, unit: str, limit: float | None, answer: Callable[[Story], float], detail: str = ""
    ) -> Figure:
        rival = max(map(answer, hasqls)) if hasqls else None
        return Figure(f"{what}: {question}", max(map(answer, ours)), unit, limit, rival=rival, detail=detail)

    views = [view for story in ours for view in (story.one_down, story.all_down)]
    error = next((view.first_error for view in views if view.errors), "")
    reads = sum(len(view.outcomes) for view in views)
    fallback = min(story.part_on_primary for story in ours)
    return [
        worst(
            "one killed, errors", "", 0, lambda it: it.one_down.errors, error or f"of {reads} reads in all"
        ),
        worst("one killed, longest gap", "s", 0.1, lambda it: it.one_down.longest_gap_s),
        worst("one killed, longest wait of a caller", "s", 0.1, lambda it: it.one_down.longest_wait_s),
        worst("reads back on it after", "s", 2.0, lambda it: it.back_s),
        worst("all killed, errors", "", 0, lambda it: it.all_down.errors, f"{fallback:.0%} on the primary"),
        worst("all killed, longest gap", "s", None, lambda it: it.all_down.longest_gap_s),
        worst("all killed, longest wait of a caller", "s", None, lambda it: it.all_down.longest_wait_s),
    ]
