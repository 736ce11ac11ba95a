"""All replicas dead for a while under reads and writes: what the reads cost the writes."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from math import inf
from time import monotonic

from bench.contenders import environ
from bench.faults import SQL, _do, _other_process
from bench.figures import Figure
from bench.load import READS_PER_S, View, load
from pgfleet import AsyncReplicaRouter
from pgfleet.local import LocalFleet

DRIVERS = ("asyncpg", "psycopg")
WRITERS = 4
WRITES_PER_S = 100
WRITE_PACE_S = WRITERS / WRITES_PER_S
QUIET_S = 4.0
OUTAGE_S = 6.0
STORM = 64
"""Callers that read without a pause, beside the others."""


def run(*, quick: bool) -> list[Figure]:
    """With the steady load alone, and with a storm of readers on top."""
    logging.disable(logging.CRITICAL)  # an outage is loud by design
    try:
        with LocalFleet.temporary() as fleet:
            fleet.sql("primary", "create table written (i int)")
            return [
                figure
                for driver in DRIVERS
                for storm in (0, STORM)
                for figure in asyncio.run(_figures(fleet, driver, storm, 2.0 if quick else OUTAGE_S))
            ]
    finally:
        logging.disable(logging.NOTSET)


async def _figures(fleet: LocalFleet, driver: str, storm: int, outage_s: float) -> list[Figure]:
    writes: list[float] = []
    errors: list[str] = []
    with _other_process() as hand:

        async def cause(verb: str) -> None:
            for name in fleet.names[1:]:
                await asyncio.get_running_loop().run_in_executor(hand, _do, fleet.directory, verb, name)

        await cause("start")
        async with AsyncReplicaRouter.from_env(environ(fleet), driver=driver) as router:
            read = partial(router.fetch_value, SQL)
            others = [asyncio.create_task(_write(router, writes, errors)) for _ in range(WRITERS)]
            others += [asyncio.create_task(_storm(router, errors)) for _ in range(storm)]
            async with load(read) as under_way:
                await asyncio.sleep(QUIET_S)
                killed_s = monotonic()
                await cause("kill")
                await asyncio.sleep(outage_s)
                ended_s = monotonic()
            for task in others:
                task.cancel()
            await asyncio.wait(others)
    before = sum(killed_s - QUIET_S / 2 < at_s < killed_s for at_s in writes) / (QUIET_S / 2)
    during = sum(killed_s < at_s < ended_s for at_s in writes) / (ended_s - killed_s)
    view = under_way.between(killed_s, inf)
    return _shown(
        f"{driver}, {storm} storming" if storm else driver, view, errors, before, during, ended_s - killed_s
    )


def _shown(
    what: str, view: View, errors: list[str], before: float, during: float, outage_s: float
) -> list[Figure]:
    goodput = (len(view.outcomes) - view.errors) / (READS_PER_S * outage_s)
    return [
        Figure(
            f"{what}: errors",
            view.errors + len(errors),
            "",
            0,
            detail=view.first_error or "".join(errors[:1]),
        ),
        Figure(
            f"{what}: goodput of {READS_PER_S} reads/s",
            goodput,
            "x",
            0.995 if "storm" not in what else None,
            True,
        ),
        Figure(
            f"{what}: writes to before",
            during / before,
            "x",
            0.9,
            True,
            detail=f"{before:.0f}/s, {during:.0f}/s",
        ),
        Figure(f"{what}: longest wait of a reader", view.longest_wait_s, "s"),
    ]


async def _write(router: AsyncReplicaRouter[object], writes: list[float], errors: list[str]) -> None:
    """At a pace; whoever was held up makes up for it at once."""
    due_s = monotonic()
    while True:
        due_s += WRITE_PACE_S
        await asyncio.sleep(due_s - monotonic())
        try:
            await router.execute("insert into written values (1)")
            writes.append(monotonic())
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")


async def _storm(router: AsyncReplicaRouter[object], errors: list[str]) -> None:
    while True:
        try:
            await router.fetch(SQL)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
