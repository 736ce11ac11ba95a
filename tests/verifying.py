"""Running the checklist in this process, on a fleet that a test has prepared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from pgfleet.cli.environment import router_of, without_idle_connections
from pgfleet.cli.verify_api import serving
from pgfleet.settings import Settings
from pgfleet.verify.items import Item, Outcome, Report
from pgfleet.verify.options import Options
from pgfleet.verify.run import World, verify

BRIEF_S = 0.5
"""Long enough for everything but a lag of a second."""


def look(
    environ: Mapping[str, str],
    *,
    routers: Callable[[Settings], Any] = router_of,
    serve: Callable[[Any], Any] = serving,
    **options: Any,
) -> Report:
    """The report of one run."""

    def settings() -> Settings:
        return without_idle_connections(Settings.from_env(environ))

    world = World(environ, settings, routers, serve, lambda _: None)
    return asyncio.run(verify(world, Options(**{"seconds": BRIEF_S, **options})))


def item(report: Report, key: str) -> Item:
    """One of its items."""
    return next(item for item in report.items if item.key == key)


def failed(report: Report) -> dict[str, str]:
    """The first word of evidence of each item that failed."""
    return {item.key: item.evidence[0] for item in report.items if item.outcome is Outcome.FAILED}
