"""Puts an engine together: for each node of the settings its pools, its prober, and what watches it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pgfleet.adapters.session import Password, SessionSettings
from pgfleet.board import Board, Node
from pgfleet.board.fallback import fallback_size
from pgfleet.core.node import Observation
from pgfleet.engine import Engine
from pgfleet.faults import NotPrimary
from pgfleet.members import Follower, Members
from pgfleet.members.sources import Discovered, FleetFile, Source, is_in_file
from pgfleet.pool import Bound, Pool, PoolClosed, PoolLimits
from pgfleet.ports import Connector, Runtime
from pgfleet.settings import Dsn, NodeSettings, Settings
from pgfleet.watch import Monitor, observe
from pgfleet.watch.pooler import check_same_server

C = TypeVar("C")
Connect = Callable[[SessionSettings], Connector[C]]


def assemble(settings: Settings, connect: Connect[C], runtime: Runtime) -> Engine[C]:
    """An engine over these settings, for one driver and one runtime. Opens nothing yet."""
    nodes = [_node(settings, node, connect, runtime) for node in (settings.primary, *settings.replicas)]
    board = Board(settings, nodes, runtime)

    def admitting(node: Node[C]) -> Node[C]:
        node.reads.admit = _admission(board, node, node.reads, runtime, writes=False)
        node.writes.admit = _admission(board, node, node.writes, runtime, writes=True)
        return node

    for node in nodes:
        admitting(node)
    monitor = Monitor(board, runtime)
    members = Members(
        board, monitor, lambda wanted: admitting(_node(settings, wanted, connect, runtime)), runtime
    )
    follower = Follower(settings, members, _sources(settings, runtime), runtime)
    return Engine(board, monitor, runtime, members, follower)


def _sources(settings: Settings, runtime: Runtime) -> list[Source]:
    """Who tells of more replicas, as the settings say."""
    sources: list[Source] = []
    if settings.fleet_file:
        others = [node for node in settings.replicas if not is_in_file(node)]
        sources.append(FleetFile(settings.fleet_file, settings.primary, others, runtime))
    if settings.discovery:
        from pgfleet.discovery import load

        sources.append(Discovered(load(settings.discovery, runtime), settings.primary))
    return sources


def _node(settings: Settings, node: NodeSettings, connect: Connect[C], runtime: Runtime) -> Node[C]:
    bound = Bound(node.max_connections, runtime)
    configured_primary = node is settings.primary

    def pool(dsn: Dsn, password: Password, max_size: int, min_size: int, read_only: bool) -> Pool[C]:
        pooled = settings.pooler == "transaction"
        session = SessionSettings(dsn, password, settings.query_timeout_s, read_only, pooled)
        limits = PoolLimits(max_size, min(min_size, max_size), settings.max_idle_s, settings.max_lifetime_s)
        return Pool(connect(session), runtime, limits, bound)

    reads_dsn = settings.fallback_dsn if configured_primary and settings.fallback_dsn else node.dsn
    reads_password = None if reads_dsn is settings.fallback_dsn else node.password
    reads_max = fallback_size(settings, node.max_connections) if configured_primary else node.max_connections
    writes = pool(node.dsn, node.password, node.max_connections, node.min_connections, False)
    return Node(
        name=node.name,
        reads=pool(
            reads_dsn, reads_password, reads_max, 0 if configured_primary else node.min_connections, True
        ),
        writes=writes,
        prober=connect(SessionSettings(node.probe_dsn or node.dsn, node.password)),
        pooler=writes.connector if node.probe_dsn and not node.shared_endpoint else None,
    )


def _admission(
    board: Board[C], node: Node[C], pool: Pool[C], runtime: Runtime, *, writes: bool
) -> Callable[[C], Awaitable[Observation]]:
    """Every new connection says what it leads to before it is lent: the server behind an address may have changed."""

    async def admit(conn: C) -> Observation:
        seen: Observation = await observe(pool.connector, conn, runtime)
        if not board.has(node):
            raise PoolClosed(f"{node.name} was removed")
        if node.pooler:
            check_same_server(board.state(node).observation, seen)
        board.observe(node.name, seen)
        if writes and board.topology.writer_name != node.name:
            raise NotPrimary(f"{node.name} is no longer the primary")
        return seen

    return admit
