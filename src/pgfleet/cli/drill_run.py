"""Running drills for `pgfleet drill`: on which fleet, and what may be broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pgfleet.cli.drill_view import View
from pgfleet.cli.endings import ending_as_ctrl_c, undisturbed
from pgfleet.drill.consistency import course
from pgfleet.drill.consistency.run import Trial
from pgfleet.drill.consistency.run import run as try_it
from pgfleet.drill.consistency.tables import SETTINGS
from pgfleet.drill.environment import run_against
from pgfleet.drill.fleets import mend, tidy
from pgfleet.drill.hand import hand
from pgfleet.drill.names import CONSISTENCY
from pgfleet.drill.run import Drill, Options, run
from pgfleet.drill.scenarios import SCENARIOS, Scenario
from pgfleet.errors import PgfleetError
from pgfleet.local import LocalFleet
from pgfleet.settings import Settings


def _scenarios(name: str) -> list[Scenario]:
    return [*SCENARIOS.values()] if name == "all" else [SCENARIOS[name]]


def on_local_fleet(name: str, options: Options, replicas: int, directory: Path | None) -> list[Drill]:
    """Run a drill, or `all`, on a local fleet: one of its own, or the one in a directory. Raises LocalFleetError."""
    view = View()
    with ending_as_ctrl_c(), _fleet(replicas, directory, view) as fleet, hand(fleet.directory) as doing:
        return [
            _play(view, scenario, partial(run, scenario, options, fleet, doing, view.tell))
            for scenario in _scenarios(name)
        ]


def try_consistency(options: course.Options, replicas: int, directory: Path | None) -> Trial:
    """The same for the history that is checked. Raises LocalFleetError."""
    view = View()
    with (
        ending_as_ctrl_c(),
        _fleet(replicas, directory, view, SETTINGS) as fleet,
        hand(fleet.directory) as doing,
        view.running(f"consistency: {CONSISTENCY}"),
    ):
        return asyncio.run(try_it(options, fleet, doing, view.tell))


def _play(view: View, scenario: Scenario, begin: Callable[[], Coroutine[Any, Any, Drill]]) -> Drill:
    with view.running(f"{scenario.name}: {scenario.about}"):
        return asyncio.run(begin())


@contextmanager
def _fleet(
    replicas: int, directory: Path | None, view: View, settings: Mapping[str, str] | None = None
) -> Iterator[LocalFleet]:
    """The fleet to break. One of our own is gone afterwards, another one is whole again, without our tables."""
    after = ExitStack()
    try:
        with view.running("a fleet is started"):
            if directory is None:
                fleet = after.enter_context(LocalFleet.temporary(replicas, settings=settings))
            else:
                fleet = _existing(directory)
                after.callback(tidy, fleet)
                after.callback(mend, fleet)
        yield fleet
    finally:
        with undisturbed():
            after.close()


def _existing(directory: Path) -> LocalFleet:
    """A fleet that is there, every node of it running. Raises LocalFleetError."""
    fleet = LocalFleet.attach(directory)
    if len(fleet.names) < 2:
        raise PgfleetError("this fleet has no replica to break", "pgfleet local up --replicas 3")
    mend(fleet)
    return fleet


def on_environment(name: str, options: Options, may_break: bool) -> list[Drill]:
    """Only what breaks the network before this very process can be done to servers that are not ours.

    Raises PgfleetError for everything else, and without the permission to break anything.
    """
    scenarios = _scenarios(name)
    _refuse(scenarios, may_break)
    settings, view = Settings.from_env(), View()
    with ending_as_ctrl_c(), hand(None) as doing:
        return [
            _play(view, scenario, partial(run_against, scenario, options, settings, doing, view.tell))
            for scenario in scenarios
        ]


def _refuse(scenarios: list[Scenario], may_break: bool) -> None:
    watch_instead = "`pgfleet drill watch` reports while you break something yourself"
    if not may_break:
        raise PgfleetError(
            "the fleet of the environment is not a local one, and a drill breaks it",
            f"add --yes-break-it if it may break; {watch_instead}",
        )
    for scenario in scenarios:
        if scenario.hits_primary:
            raise PgfleetError(
                f"{scenario.name} would kill a primary that the drill did not start", watch_instead
            )
        if not scenario.is_proxied:
            raise PgfleetError(
                f"{scenario.name} needs the servers' processes, and those of the environment are not the drill's",
                f"blackhole and reset break the network before this process alone; {watch_instead}",
            )
