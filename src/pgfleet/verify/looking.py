"""Looking at the nodes: who streams, how far behind each replica is, and what each server says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from time import monotonic
from typing import Any

from pgfleet.core.explain import NodeExplanation
from pgfleet.core.node import Reason
from pgfleet.core.plan import lag_s
from pgfleet.core.topology import NodeState, Topology
from pgfleet.pool import Pooled
from pgfleet.settings import NodeSettings
from pgfleet.verify.figures import LagFigures, NodeFigures, ReplicaFigures
from pgfleet.verify.load import Router

LOOK_EVERY_S = 0.1
ASK_TIMEOUT_S = 2.0

RECEIVER_SQL = "select coalesce(status, '') from pg_catalog.pg_stat_wal_receiver"
STANDBYS_SQL = "select count(*)::int from pg_catalog.pg_stat_replication"
SERVER_SQL = """
select pg_catalog.current_setting('server_version'),
       (select ssl from pg_catalog.pg_stat_ssl where pid = pg_catalog.pg_backend_pid()),
       (select sum(numbackends)::int from pg_catalog.pg_stat_database),
       pg_catalog.current_setting('max_connections')::int
"""
RUNS_ALL_THE_SAME = frozenset(
    (
        Reason.DRAINED,
        Reason.BUSY,
        Reason.EJECTED,
        Reason.STALE,
        Reason.STALENESS_UNKNOWN,
        Reason.NOT_CAUGHT_UP,
    )
)
"""Reasons why a replica takes no reads although it is one that runs: other items speak of them."""


async def ask(router: Router, name: str, sql: str) -> list[Any] | None:
    """The rows of a statement on this node; None: it did not answer."""
    try:
        return await router.engine.fetch_from(name, sql, ASK_TIMEOUT_S)
    except Exception:  # whatever a driver raises: the probes tell already how the node is
        return None


@asynccontextmanager
async def leases(router: Router) -> AsyncIterator[None]:
    """A connection lent from the pool of every node that answers, until the block ends."""
    names = [node.name for node in router.topology.nodes if node.observation and not node.trouble]
    lent = [pooled for pooled in await asyncio.gather(*(_lend(router, name) for name in names)) if pooled]
    try:
        yield
    finally:
        for pooled in lent:
            await router.engine.give_back(pooled)


async def _lend(router: Router, name: str) -> Pooled[Any] | None:
    board = router.engine.board
    try:
        return await board.nodes[name].reads.acquire(board.now_s() + ASK_TIMEOUT_S)
    except Exception:  # it died meanwhile: the statistics will show no connection
        return None


async def look_at_replicas(router: Router, known: Mapping[str, NodeSettings]) -> list[ReplicaFigures]:
    """Each configured replica, as its last probe and its own receiver tell."""
    told = {node.name: node for node in router.explain().nodes}
    replicas = [node for node in router.topology.replicas if node.name in told]
    return list(await asyncio.gather(*(_replica(router, node, told[node.name], known) for node in replicas)))


async def _replica(
    router: Router, node: NodeState, told: NodeExplanation, known: Mapping[str, NodeSettings]
) -> ReplicaFigures:
    trouble = why_not_running(node, told)
    rows = [] if trouble or node.is_aurora else await ask(router, node.name, RECEIVER_SQL)
    if rows is None:
        trouble = "does not say whether it streams"
    return ReplicaFigures(
        node.name,
        known[node.name].weight if node.name in known else node.weight,
        trouble,
        rows[0][0] if rows else None,
        node.is_aurora,
        node.is_shared,
    )


def why_not_running(node: NodeState, told: NodeExplanation) -> str | None:
    """Why it is no replica of this fleet that runs; None: it is one, whether it takes reads now or not."""
    if node.trouble:
        return f"{node.trouble.reason}: {node.trouble.detail}"
    return None if told.candidate or told.reason in RUNS_ALL_THE_SAME else told.reason


async def count_standbys(router: Router) -> int | None:
    """How many standbys the present primary feeds; None: nobody tells."""
    primary = router.topology.primary_name
    rows = await ask(router, primary, STANDBYS_SQL) if primary else None
    return rows[0][0] if rows else None


class _Lag:
    """What was seen of one replica so far."""

    samples: int = 0
    max_s: float | None = None
    gap: str | None = None
    is_shared: bool = False

    def look(self, topology: Topology, node: NodeState) -> None:
        self.is_shared = node.is_shared
        measured = None if node.trouble else lag_s(topology, node)
        if measured is not None:
            self.samples += 1
            self.max_s = max(measured, self.max_s or 0.0)
        elif self.samples or node.trouble:  # the first looks of a new router may come before it can tell
            self.gap = (
                str(node.trouble.reason) if node.trouble else "its lag could not be measured all the time"
            )


async def sample_lags(router: Router, seconds: float) -> list[LagFigures]:
    """The lag of each replica, at fresh looks for so long."""
    found: dict[str, _Lag] = {}
    end_s = monotonic() + seconds
    while True:
        await router.engine.refresh(0.0)
        topology = router.topology
        for node in topology.replicas:
            found.setdefault(node.name, _Lag()).look(topology, node)
        if monotonic() >= end_s:
            return [_figures(name, lag) for name, lag in found.items()]
        await asyncio.sleep(LOOK_EVERY_S)


def _figures(name: str, lag: _Lag) -> LagFigures:
    return LagFigures(name, lag.samples, lag.max_s, lag.gap, lag.is_shared)


async def look_at_servers(
    router: Router, known: Mapping[str, NodeSettings], pooled: bool
) -> list[NodeFigures]:
    """What every node says of itself. `pooled`: our connections end at a pooler, so of TLS it can say nothing."""
    names = [node.name for node in router.topology.nodes]
    return list(await asyncio.gather(*(_server(router, name, known.get(name), pooled) for name in names)))


async def _server(router: Router, name: str, settings: NodeSettings | None, pooled: bool) -> NodeFigures:
    is_remote = (
        settings is not None and not pooled and any(_is_remote(host) for host, _ in settings.dsn.hosts)
    )
    node = router.topology.find(name)
    usable = node is not None and not node.trouble and node.observation is not None
    rows = await ask(router, name, SERVER_SQL) if usable else None
    return NodeFigures(name, is_remote, *rows[0]) if rows else NodeFigures(name, is_remote)


def _is_remote(host: str) -> bool:
    """Whether it is neither a socket nor the loopback interface."""
    if host.startswith(("/", "@")) or host == "localhost":
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True
