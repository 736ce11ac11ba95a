"""Runs a drill: on a local fleet, or against the fleet of the environment without touching its servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from pgfleet.drill import clients, fleets
from pgfleet.drill.calls import Group, Record
from pgfleet.drill.clients import Client
from pgfleet.drill.detour import by_way_of
from pgfleet.drill.hand import Hand, on_proxies
from pgfleet.drill.promises import Verdict, judge
from pgfleet.drill.scenarios import Scenario
from pgfleet.drill.stage import Opener, Plan, Tell, perform
from pgfleet.local import LocalFleet
from pgfleet.settings import Settings


@dataclass(frozen=True, slots=True)
class Options:
    """How a drill is run."""

    seconds: float | None = None
    """How long the fault lasts; None: as the scenario has it."""
    rate: float = 320.0
    """Fetches a second."""
    callers: int = 16
    """Of fetch. A quarter as many use `read()` blocks, and a quarter as many write."""
    driver: str = "psycopg"
    threads: bool = False
    hedge: bool = False
    """Whether a fetch that is late is sent to a second replica too."""


@dataclass(frozen=True, slots=True)
class Drill:
    """One that was run."""

    name: str
    about: str
    options: Options
    record: Record
    verdicts: tuple[Verdict, ...]

    @property
    def is_kept(self) -> bool:
        """Whether every promise was."""
        return all(verdict.is_kept for verdict in self.verdicts)


async def run(
    scenario: Scenario,
    options: Options,
    fleet: LocalFleet,
    hand: Hand,
    tell: Tell,
    rival: Opener | None = None,
) -> Drill:
    """Run one on a local fleet that is whole, and leave it whole. Raises LocalFleetError.

    `rival` opens somebody else than pgfleet, for comparison.
    """
    await asyncio.to_thread(fleets.prepare, fleet)
    settings = Settings.from_env(fleet.environ(plain=True))
    ports = {fleet.node(name).port: name for name in fleet.names}
    groups = scenario.groups(options.callers, options.rate)
    proxied = [name for name in fleet.names if name != fleet.primary and scenario.is_proxied]

    async def undo() -> None:
        if proxied:
            await hand.do(on_proxies, "pass_through", proxied)
        await asyncio.to_thread(fleets.mend, fleet)

    plan = Plan(
        play=scenario.play,
        nodes=fleet.names,
        primary=fleet.primary,
        opener=rival or opener_of(scenario.reading, options, settings, clients.by_port(ports), groups),
        groups=groups,
        seconds=scenario.seconds if options.seconds is None else options.seconds,
        bound_s=scenario.reading.max_lag_s or settings.max_lag_s,
        undo=undo,
        proxied={name: ("127.0.0.1", fleet.node(name).port) for name in proxied},
    )
    record = await perform(plan, hand, tell)
    record = replace(record, kept_numbers=await asyncio.to_thread(fleets.numbers, fleet))
    verdicts = tuple(judge(scenario.promises, record))
    return Drill(scenario.name, scenario.about, options, record, verdicts)


def opener_of(
    reading: clients.Reading,
    options: Options,
    settings: Settings,
    read: clients.Reader,
    groups: tuple[Group, ...],
) -> Opener:
    """Opens the client that these options speak of."""

    def open_client(proxies: Mapping[str, int]) -> AbstractAsyncContextManager[Client]:
        return clients.pgfleet(
            by_way_of(proxies, settings),
            read,
            reading,
            driver=options.driver,
            threads=_threads_for(groups) if options.threads else 0,
            hedge=options.hedge,
        )

    return open_client


def _threads_for(groups: tuple[Group, ...]) -> int:
    """One for each caller, and some for what is called beside."""
    return sum(group.callers for group in groups) + clients.SPARE_THREADS
