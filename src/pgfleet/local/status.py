"""What each node is doing now."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

from pgfleet.core.lsn import Lsn, parse_lsn
from pgfleet.core.node import Role
from pgfleet.errors import LocalFleetError
from pgfleet.local import build
from pgfleet.local.cluster import Cluster
from pgfleet.local.server import ServerState

ASK_TIMEOUT_S = 2.0

POSITIONS = """
    select case when not pg_is_in_recovery() then pg_current_wal_flush_lsn() end,
           case when pg_is_in_recovery() then pg_last_wal_replay_lsn() end,
           case when pg_is_in_recovery() then pg_is_wal_replay_paused() end,
           exists (select from pg_stat_wal_receiver where status = 'streaming')
"""


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """One node: what its processes, its files and, when it runs, its server say."""

    name: str
    role: Role
    state: ServerState
    port: int
    pid: int | None
    """The postmaster's; None when it is stopped."""
    timeline: int
    upstream: str | None
    """Whom a standby follows."""
    flush_lsn: Lsn | None = None
    """On a primary. None when the server does not run or did not answer."""
    replay_lsn: Lsn | None = None
    """On a standby."""
    lag_bytes: int | None = None
    """From the primary's flush to this standby's replay; None when not known, or on another timeline."""
    is_streaming: bool = False
    is_paused: bool = False
    """Its replay is paused."""
    apply_delay_s: float = 0.0
    """`recovery_min_apply_delay`."""


def fleet_status(cluster: Cluster) -> list[LocalStatus]:
    """One status a node, in order. Whatever state the nodes are in, this does not raise."""
    statuses = {name: _status(cluster, name) for name in _primary_first(cluster)}
    primary = next(iter(statuses.values()))
    return [_with_lag(statuses[name], primary) for name in cluster.names]


def _primary_first(cluster: Cluster) -> list[str]:
    """So that no replica is asked before the primary's position, against which its lag is told, is known."""
    with contextlib.suppress(LocalFleetError):
        primary = cluster.primary()
        return [primary, *(name for name in cluster.names if name != primary)]
    return list(cluster.names)


def _status(cluster: Cluster, name: str) -> LocalStatus:
    node, server, recorded = cluster.node(name), cluster.server(name), cluster.state.node(name)
    is_standby = build.is_standby(node)
    postmaster = server.postmaster()
    status = LocalStatus(
        name=name,
        role=Role.REPLICA if is_standby else Role.PRIMARY,
        state=server.state(),
        port=node.port,
        pid=postmaster.pid if postmaster else None,
        timeline=build.timeline(node),
        upstream=recorded.upstream if is_standby else None,
        apply_delay_s=recorded.apply_delay_s if is_standby else 0.0,
    )
    return _with_positions(cluster, status) if status.state is ServerState.RUNNING else status


def _with_positions(cluster: Cluster, status: LocalStatus) -> LocalStatus:
    """As the server tells them; one that gives no answer in time keeps them unknown."""
    with (
        contextlib.suppress(LocalFleetError),
        cluster.session(status.name, ASK_TIMEOUT_S) as session,
    ):
        flush, replay, paused, streaming = session.query(POSITIONS)[0]
        return replace(
            status,
            flush_lsn=parse_lsn(flush) if flush else None,
            replay_lsn=parse_lsn(replay) if replay else None,
            is_paused=paused == "t",
            is_streaming=streaming == "t",
        )
    return status


def _with_lag(status: LocalStatus, primary: LocalStatus) -> LocalStatus:
    if status.replay_lsn is None or primary.flush_lsn is None or status.timeline != primary.timeline:
        return status
    return replace(status, lag_bytes=max(0, primary.flush_lsn - status.replay_lsn))
