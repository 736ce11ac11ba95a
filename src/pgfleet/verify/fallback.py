"""The primary alone: a router of the same settings whose replicas are nowhere to be found. No server is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from pgfleet.settings import NodeSettings, Settings
from pgfleet.verify.figures import FallbackFigures
from pgfleet.verify.load import Load, Router

NOWHERE = "/nonexistent/pgfleet-verify/{}"
"""A directory of sockets in which nobody listens."""
CALLERS = 4
READS = 10


def without_replicas(settings: Settings, names: Sequence[str]) -> Settings:
    """The same settings, but these replicas, and no others, are at addresses where nobody is."""
    replicas = tuple(_lost(settings, name) for name in names or ("replica-1",))
    return replace(settings, replicas=replicas, use_replicas=True, fleet_file=None, discovery=None)


def _lost(settings: Settings, name: str) -> NodeSettings:
    def at(place: str) -> NodeSettings:
        where = settings.primary.dsn.changed(("hostaddr",), host=NOWHERE.format(place), port="5432")
        return NodeSettings(name, where, min_connections=0)

    node = at(name)
    return node if settings.pooler == "none" else replace(node, probe_dsn=at(f"{name}/probe").dsn)


async def fall_back(
    settings: Settings, names: Sequence[str], router_of: Callable[[Settings], Router]
) -> FallbackFigures:
    """Read while no replica can be reached."""
    async with router_of(without_replicas(settings, names)) as router:
        load = Load(router)
        for _ in range(READS):
            await asyncio.gather(*(load.read() for _ in range(CALLERS)))
    return FallbackFigures(tuple(load.reads))
