"""The two sources of figures: an application's own pools, or the servers, asked by a service that has no pools."""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from pgfleet.core import report
from pgfleet.core.report import Json
from pgfleet.http.fleet import Fleet, Unanswered
from pgfleet.http.queries import CONNECTIONS_SQL


class Figures(Protocol):
    """Who is connected to each node, and how many reads and writes each got."""

    async def connections(self) -> Json:
        """`source`, and by node the connections."""

    def distribution(self) -> Json:
        """`source`, and by node the reads and writes since the start."""


class PoolFigures:
    """Of the router in this process: what its own application does."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def connections(self) -> Json:
        """Of the router's pools."""
        pools = self._fleet.router.pool_stats()
        return self._source() | _by_node({name: report.pool_connections(of) for name, of in pools.items()})

    def distribution(self) -> Json:
        """Counted as the router lends."""
        router = self._fleet.router
        return self._source() | report.distribution(router.pool_stats(), router.settings.primary.name)

    def _source(self) -> Json:
        return {"source": "pool", "worker": os.getpid()}


class ServerFigures:
    """Of the servers: what all their clients do together."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def connections(self) -> Json:
        """As each server's `pg_stat_activity` has them; 0 of a server that does not say."""
        names = list(self._fleet.router.engine.board.nodes)
        answers = await asyncio.gather(*(self._of(name) for name in names))
        return {"source": "server", "worker": None} | _by_node(dict(zip(names, answers, strict=True)))

    def distribution(self) -> Json:
        """Nobody counts statements by router on a server."""
        return {"source": "none", "worker": None} | report.no_distribution(self._fleet.router.topology)

    async def _of(self, name: str) -> Json:
        try:
            seen = await self._fleet.ask(name, CONNECTIONS_SQL)
        except Unanswered as why:
            return report.connections(0, 0, 0, taken=0) | {"reason": str(why)}
        active, idle = seen["active"], seen["idle"]
        figures = report.connections(active, idle, seen["max_connections"], taken=active + idle)
        return figures | {"privilege": seen["privilege"]}


def _by_node(connections: dict[str, Json]) -> Json:
    """The first node is the one that the settings call the primary."""
    (_, primary), *replicas = connections.items()
    return {"primary": primary, "replicas": dict(replicas)}
