"""The figures of a running demo: from the router what the fleet does, from the tally what the users notice."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from pgfleet.aio import AsyncReplicaRouter
from pgfleet.core.health import Status, replica_status
from pgfleet.core.plan import lag_s
from pgfleet.core.topology import NodeState
from pgfleet.demo.tally import RECENT, Tally, Timings

WINDOW_S = 2.0
"""Rates are those of the last two seconds."""


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """One node."""

    name: str
    role: str
    status: Status
    reason: str | None
    """Why it takes no reads; None when it does."""
    lag_s: float | None
    reads_per_s: float
    reads: int
    read_share: float
    """Its part of all reads, 0 to 1."""
    in_use: int
    max_connections: int


@dataclass(frozen=True, slots=True)
class KindFigures:
    """The reads, or the writes, as the users had them."""

    per_s: float
    done: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """One moment of a run."""

    elapsed_s: float
    nodes: tuple[NodeFigures, ...]
    replica_share: float | None
    """The part of all reads since the start that replicas answered; None before the first."""
    reads: KindFigures
    writes: KindFigures
    read_back: int
    stale: int


@dataclass(frozen=True, slots=True)
class _Counts:
    at_s: float
    reads: dict[str, int]
    reads_done: int
    writes_done: int


class Meter:
    """Reads the figures of a run that starts now."""

    def __init__(self, router: AsyncReplicaRouter[Any], tally: Tally) -> None:
        self._router = router
        self._tally = tally
        self._first = self._count()
        self._window = deque([self._first])
        self._replica_reads = 0
        self._seen = self._first

    def read(self) -> Figures:
        """The figures of this moment."""
        now = self._count()
        self._add_to_window(now)
        self._share_out(now)
        total = sum(now.reads.values()) - sum(self._first.reads.values())
        return Figures(
            elapsed_s=now.at_s - self._first.at_s,
            nodes=tuple(self._node(node, now, total) for node in self._router.topology.nodes),
            replica_share=self._replica_reads / total if total else None,
            reads=_kind(self._tally.reads, self._per_s(now.reads_done, self._window[0].reads_done, now)),
            writes=_kind(self._tally.writes, self._per_s(now.writes_done, self._window[0].writes_done, now)),
            read_back=self._tally.read_back,
            stale=self._tally.stale,
        )

    def _share_out(self, now: _Counts) -> None:
        """Count what each node has answered since the last look under the role that it has."""
        primary = self._router.topology.primary_name
        self._replica_reads += sum(
            count - self._seen.reads[name] for name, count in now.reads.items() if name != primary
        )
        self._seen = now

    def _node(self, node: NodeState, now: _Counts, total: int) -> NodeFigures:
        topology = self._router.topology
        reads, writes = self._router.pool_stats()[node.name]
        count = now.reads[node.name] - self._first.reads[node.name]
        is_primary = node.name == topology.primary_name
        return NodeFigures(
            name=node.name,
            role=str(node.observation.role) if node.observation else "",
            status=Status.HEALTHY if is_primary else replica_status(topology, node),
            reason=str(node.trouble.reason) if node.trouble else None,
            lag_s=None if node.trouble else lag_s(topology, node),
            reads_per_s=self._per_s(now.reads[node.name], self._window[0].reads[node.name], now),
            reads=count,
            read_share=count / total if total else 0.0,
            in_use=reads.active + writes.active,
            max_connections=max(reads.max_connections, writes.max_connections),
        )

    def _per_s(self, count: int, before: int, now: _Counts) -> float:
        span_s = now.at_s - self._window[0].at_s
        return (count - before) / span_s if span_s > 0 else 0.0

    def _count(self) -> _Counts:
        reads = {name: pools[0].leases for name, pools in self._router.pool_stats().items()}
        return _Counts(time.monotonic(), reads, self._tally.reads.done, self._tally.writes.done)

    def _add_to_window(self, now: _Counts) -> None:
        self._window.append(now)
        while len(self._window) > 2 and self._window[1].at_s <= now.at_s - WINDOW_S:
            self._window.popleft()


def _kind(timings: Timings, per_s: float) -> KindFigures:
    p50_ms, p95_ms = timings.percentiles_ms(RECENT) or (None, None)
    return KindFigures(per_s, timings.done, timings.failed, p50_ms, p95_ms)
