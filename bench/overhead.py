"""`select 1` through pgfleet, against a hand-written round robin, the drivers' own pools and hasql."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from functools import partial

from bench import contenders
from bench.figures import Figure
from bench.measure import BlockingRead, Match, Quantity, Read, play, play_blocking
from pgfleet.local import LocalFleet

TASKS = 32
Opener = Callable[[LocalFleet], AbstractAsyncContextManager[Read]]
BlockingOpener = Callable[[LocalFleet], AbstractContextManager[BlockingRead]]

ASYNCPG_READ: Mapping[str, Opener] = {
    "by hand": contenders.asyncpg_by_hand,
    "pgfleet": contenders.asyncpg_pgfleet,
    "hasql": contenders.asyncpg_hasql,
}
ASYNCPG_FETCH: Mapping[str, Opener] = {
    "asyncpg.Pool": contenders.asyncpg_pool_fetch,
    "raw connection": contenders.asyncpg_raw_fetch,
    "pgfleet": contenders.asyncpg_pgfleet_fetch,
}
ASYNCPG_FETCH_BY_MANY = {name: ASYNCPG_FETCH[name] for name in ("asyncpg.Pool", "pgfleet")}
PSYCOPG_READ: Mapping[str, Opener] = {
    "by hand": partial(contenders.psycopg_by_hand, autocommit=True),
    "by hand, transactions": partial(contenders.psycopg_by_hand, autocommit=False),
    "pgfleet": contenders.psycopg_pgfleet,
    "hasql": partial(contenders.psycopg_hasql, autocommit=True),
    "hasql, transactions": partial(contenders.psycopg_hasql, autocommit=False),
}
THREADS_READ: Mapping[str, BlockingOpener] = {
    "by hand": partial(contenders.threads_by_hand, autocommit=True),
    "by hand, transactions": partial(contenders.threads_by_hand, autocommit=False),
    "pgfleet": contenders.threads_pgfleet,
}


def run(*, quick: bool) -> list[Figure]:
    """Measure on a fleet of its own, which ends with it."""
    logging.getLogger("psycopg.pool").setLevel(
        logging.ERROR
    )  # it warns of each lease that hasql does not commit
    repetitions, reads = (3, 100) if quick else (101, 200)
    with LocalFleet.temporary() as fleet:
        figures = asyncio.run(_asynchronous(fleet, repetitions, reads))
        return figures + _threads(fleet, repetitions, reads)


async def _asynchronous(fleet: LocalFleet, repetitions: int, reads: int) -> list[Figure]:
    match = partial(_match, fleet, repetitions=repetitions)
    read, fetch = await match(ASYNCPG_READ, reads), await match(ASYNCPG_FETCH, reads)
    many = reads * 16
    read_by_many = await match(ASYNCPG_READ, many, tasks=TASKS)
    fetch_by_many = await match(ASYNCPG_FETCH_BY_MANY, many, tasks=TASKS)
    psycopg = await match(PSYCOPG_READ, reads)
    return [
        _figure("asyncpg read(), p50", read, "p50_s", "by hand", at_most=1.06, rival="hasql"),
        _figure("asyncpg read(), CPU", read, "cpu_s", "by hand", at_most=1.06, rival="hasql"),
        _figure("asyncpg fetch(), p50", fetch, "p50_s", "asyncpg.Pool", at_most=0.50),
        _figure("asyncpg fetch(), CPU", fetch, "cpu_s", "asyncpg.Pool"),
        _figure("a raw connection's fetch, p50", fetch, "p50_s", "asyncpg.Pool", who="raw connection"),
        _figure(f"asyncpg read(), {TASKS} tasks, reads/s", read_by_many, "per_second", "by hand",
                at_least=0.92, rival="hasql"),
        _figure(f"asyncpg fetch(), {TASKS} tasks, reads/s", fetch_by_many, "per_second", "asyncpg.Pool",
                at_least=1.7),
        *_psycopg("psycopg read()", psycopg),
        _figure("psycopg read(), p50, all in transactions", psycopg, "p50_s", "by hand, transactions",
                rival="hasql, transactions"),
    ]  # fmt: skip


def _threads(fleet: LocalFleet, repetitions: int, reads: int) -> list[Figure]:
    with ExitStack() as stack:
        opened = {name: stack.enter_context(opener(fleet)) for name, opener in THREADS_READ.items()}
        match = play_blocking(opened, repetitions, reads)
    return _psycopg("psycopg read(), a thread", match)


def _psycopg(what: str, match: Match) -> list[Figure]:
    rival = "hasql" if "hasql" in match.samples else None
    return [
        _figure(f"{what}, p50", match, "p50_s", "by hand", at_most=1.05, rival=rival),
        _figure(f"{what}, CPU", match, "cpu_s", "by hand", at_most=1.05, rival=rival),
    ]


async def _match(
    fleet: LocalFleet, openers: Mapping[str, Opener], reads: int, *, repetitions: int, tasks: int = 1
) -> Match:
    async with AsyncExitStack() as stack:
        opened = {name: await stack.enter_async_context(opener(fleet)) for name, opener in openers.items()}
        return await play(opened, repetitions, reads, tasks)


def _figure(
    what: str,
    match: Match,
    quantity: Quantity,
    base: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    rival: str | None = None,
    who: str = "pgfleet",
) -> Figure:
    ratio = match.ratio(who, base, quantity)
    shown = _shown(match.median(who, quantity), quantity), _shown(match.median(base, quantity), quantity)
    return Figure(
        what,
        ratio.median,
        "x",
        at_most if at_least is None else at_least,
        at_least=at_least is not None,
        rival=match.ratio(rival, base, quantity).median if rival else None,
        detail=f"quartiles {ratio.low:.2f}-{ratio.high:.2f}; {shown[0]} to {shown[1]} of {base}",
    )


def _shown(value: float, quantity: Quantity) -> str:
    return f"{value:,.0f}/s" if quantity == "per_second" else f"{value * 1e6:.0f} us"
