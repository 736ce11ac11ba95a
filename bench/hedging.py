"""What it costs to stand ready for a second read, and what a frozen replica costs with and without it."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from math import inf

from bench.contenders import SQL, environ
from bench.figures import Figure
from bench.measure import Read, play
from pgfleet import AsyncReplicaRouter
from pgfleet.drill.calls import Kind
from pgfleet.drill.hand import Hand, hand
from pgfleet.drill.report import View, since_broken
from pgfleet.drill.run import Options
from pgfleet.drill.run import run as run_drill
from pgfleet.drill.scenarios import SCENARIOS
from pgfleet.local import LocalFleet

DRIVERS = ("asyncpg", "psycopg")
MOST_CPU = 1.25
WORST_S = 0.1
QUICK_S = 2.0


def run(*, quick: bool) -> list[Figure]:
    """Measure on a fleet of its own."""
    logging.disable(logging.CRITICAL)  # an outage is loud by design
    try:
        with LocalFleet.temporary() as fleet:
            costs = [figure for driver in DRIVERS for figure in asyncio.run(_armed(fleet, driver, quick))]
            frozen = [figure for driver in DRIVERS for figure in asyncio.run(_frozen(fleet, driver, quick))]
    finally:
        logging.disable(logging.NOTSET)
    return costs + frozen


async def _armed(fleet: LocalFleet, driver: str, quick: bool) -> list[Figure]:
    """The same reads of one router, armed and not, turn by turn."""
    async with AsyncReplicaRouter.from_env(environ(fleet), driver=driver) as router:
        reads: dict[str, Read] = {
            "plain": partial(router.fetch, SQL),
            "armed": partial(router.fetch, SQL, hedge=True),
        }
        alone = await play(reads, repetitions=5 if quick else 25, reads=300 if quick else 2000)
        crowd = await play(reads, repetitions=3 if quick else 11, reads=1000 if quick else 6400, tasks=32)
    cpu, p50 = alone.ratio("armed", "plain", "cpu_s"), alone.ratio("armed", "plain", "p50_s")
    added_us = (alone.median("armed", "cpu_s") - alone.median("plain", "cpu_s")) * 1e6
    detail = f"{cpu.low:.2f}-{cpu.high:.2f}, {added_us:+.1f} us"
    return [
        Figure(f"{driver}: armed, CPU a read to not armed", cpu.median, "x", MOST_CPU, detail=detail),
        Figure(f"{driver}: armed, p50", p50.median, "x", detail=f"{p50.low:.2f}-{p50.high:.2f}"),
        Figure(
            f"{driver}: armed, reads/s of 32 tasks", crowd.ratio("armed", "plain", "per_second").median, "x"
        ),
    ]


async def _frozen(fleet: LocalFleet, driver: str, quick: bool) -> list[Figure]:
    """The drill `freeze`, with second reads and without."""
    with hand(fleet.directory) as doing:
        hedged, plain = [
            await _freeze(fleet, doing, Options(QUICK_S if quick else None, driver=driver, hedge=hedge))
            for hedge in (True, False)
        ]
    return [
        Figure(f"{driver}: one frozen, hedged, errors", len(hedged.failed), "", 0),
        Figure(
            f"{driver}: one frozen, hedged, longest wait",
            hedged.longest_wait_s,
            "s",
            WORST_S,
            detail=f"not hedged: {plain.longest_wait_s:.2f} s",
        ),
        Figure(
            f"{driver}: one frozen, hedged, p99.9",
            _p999_ms(hedged),
            "ms",
            detail=f"not hedged: {_p999_ms(plain):.1f} ms",
        ),
    ]


async def _freeze(fleet: LocalFleet, doing: Hand, options: Options) -> View:
    drill = await run_drill(SCENARIOS["freeze"], options, fleet, doing, lambda _: None)
    return since_broken(drill.record, Kind.FETCH)


def _p999_ms(view: View) -> float:
    return 1000 * (view.percentile_s(99.9) or inf)
