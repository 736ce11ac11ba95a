"""The drills of `pgfleet drill`, lived through by every face, and by hasql where it can: the worst run counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

from hasql.asyncpg import PoolManager as HasqlOfAsyncpg
from hasql.psycopg3 import PoolManager as HasqlOfPsycopg

from bench.contenders import hasql
from bench.figures import Figure
from pgfleet.drill.calls import Answer, Kind, Record
from pgfleet.drill.clients import PLACEHOLDERS, READ, WRITE, Client, Reader, by_port, row_in_lease
from pgfleet.drill.hand import Hand, hand
from pgfleet.drill.load import Ask
from pgfleet.drill.promises import Promise
from pgfleet.drill.report import View, since_broken
from pgfleet.drill.run import Options
from pgfleet.drill.run import run as run_drill
from pgfleet.drill.scenarios import SCENARIOS
from pgfleet.local import LocalFleet

FACES = {
    "asyncpg": Options(driver="asyncpg"),
    "psycopg": Options(driver="psycopg"),
    "psycopg, threads": Options(driver="psycopg", threads=True),
}
HASQLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "asyncpg": (HasqlOfAsyncpg, {}),
    "psycopg": (HasqlOfPsycopg, {"kwargs": {"autocommit": True}}),
}
DRILLS = (
    "kill",
    "freeze",
    "all-down",
    "pause",
    "conflicts",
    "slow-statement",
    "primary-dead",
    "promote",
    "old-primary-returns",
)
AGAINST_HASQL = frozenset(("kill", "freeze", "all-down", "promote", "old-primary-returns"))
"""It knows no bounds, and runs nothing twice."""

QUICK_S = 1.0


def run(*, quick: bool) -> list[Figure]:
    """Every face lives through every drill some times; quick: one face, once, briefly."""
    logging.disable(logging.CRITICAL)  # an outage is loud by design
    try:
        with LocalFleet.temporary() as fleet, hand(fleet.directory) as doing:
            bench = _Bench(fleet, doing, repetitions=1 if quick else 3, seconds=QUICK_S if quick else None)
            faces = list(FACES)[:1] if quick else list(FACES)
            return [figure for face in faces for drill in DRILLS for figure in bench.figures(face, drill)]
    finally:
        logging.disable(logging.NOTSET)


# the rival


@dataclass
class Hasql:
    """hasql at work, with its defaults."""

    asks: Mapping[Kind, Ask]

    def candidates(self) -> None:
        """It does not tell."""


@asynccontextmanager
async def hasql_client(
    fleet: LocalFleet, driver: str, read: Reader, _: Mapping[str, int]
) -> AsyncIterator[Client]:
    """Reads on what it takes for a replica, else on what it takes for the primary; writes on the latter."""
    manager_of, options = HASQLS[driver]
    async with hasql(manager_of, fleet, **options) as manager:
        numbers = count(1)

        async def fetch() -> Answer:
            return read(await row_in_lease(manager.acquire_replica(), READ, ()))

        async def write() -> Answer:
            sql = WRITE.format(PLACEHOLDERS[driver])
            return read(await row_in_lease(manager.acquire_master(), sql, (next(numbers),)))

        yield Hasql({Kind.FETCH: fetch, Kind.BLOCK: fetch, Kind.WRITE: write})


# what is measured


@dataclass(frozen=True, slots=True)
class _Bench:
    fleet: LocalFleet
    hand: Hand
    repetitions: int
    seconds: float | None

    def figures(self, face: str, drill: str) -> Iterator[Figure]:
        """What a drill promises, and some more, of the worst of its runs."""
        ours = [self._record(face, drill, is_rival=False) for _ in range(self.repetitions)]
        has_rival = drill in AGAINST_HASQL and face in HASQLS
        rivals = [
            self._record(face, drill, is_rival=True) for _ in range(self.repetitions if has_rival else 0)
        ]
        for promise in SCENARIOS[drill].promises:
            yield _figure(f"{face}: {drill}: {promise.what}", promise, ours, rivals)
        for what, unit, measure in MORE.get(drill, ()):
            more = Promise("", what, 0, unit, measure)
            yield replace(_figure(f"{face}: {drill}: {what}", more, ours, rivals), limit=None)

    def _record(self, face: str, drill: str, *, is_rival: bool) -> Record:
        options = replace(FACES[face], seconds=self.seconds)
        rival = partial(hasql_client, self.fleet, face, self._reader()) if is_rival else None
        playing = run_drill(SCENARIOS[drill], options, self.fleet, self.hand, lambda _: None, rival)
        return asyncio.run(playing).record

    def _reader(self) -> Reader:
        return by_port({self.fleet.node(name).port: name for name in self.fleet.names})


def _figure(what: str, promise: Promise, ours: list[Record], rivals: list[Record]) -> Figure:
    worst = min if promise.at_least else max
    measured, rival = (
        [v for r in records if (v := promise.measure(r)) is not None] for records in (ours, rivals)
    )
    return Figure(
        what,
        worst(measured),
        promise.unit,
        promise.limit,
        at_least=promise.at_least,
        rival=worst(rival, default=None),
        detail=_first_error(ours),
    )


def _first_error(records: list[Record]) -> str:
    failed = [call for record in records for call in since_broken(record, Kind.FETCH).failed]
    return f"{failed[0].error}: {failed[0].message}" if failed else ""


def _answered_percent(record: Record) -> float:
    view = View(record.calls).of(Kind.FETCH).due(record.broken_s, record.mended_s)
    return 100 * len(view.answered) / max(1, len(view.calls))


def _on_returned_percent(record: Record) -> float:
    """Of the writes after the old primary's return."""
    writes = [c for c in View(record.calls).of(Kind.WRITE).answered if c.began_s >= record.mended_s]
    return 100 * sum(write.node == record.returned for write in writes) / max(1, len(writes))


def _longest_wait_s(record: Record) -> float:
    return since_broken(record, Kind.FETCH).longest_wait_s


MORE: dict[str, tuple[tuple[str, str, Callable[[Record], float]], ...]] = {
    "kill": (("the longest wait of a caller of fetch", "s", _longest_wait_s),),
    "all-down": (
        ("fetches answered, of those begun", "%", _answered_percent),
        ("the longest wait of a caller of fetch", "s", _longest_wait_s),
    ),
    "old-primary-returns": (("of the writes then, on the old primary", "%", _on_returned_percent),),
}
"""To compare with; without a limit."""
