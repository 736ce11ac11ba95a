"""What people and monitors read about a fleet, as plain values ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pgfleet.core.explain import Explanation, NodeExplanation, detail_of
from pgfleet.core.health import Status, replica_status
from pgfleet.core.intent import PLAIN
from pgfleet.core.node import Reason
from pgfleet.core.plan import lag_s, plan_read
from pgfleet.core.topology import NodeState, Topology

Json = dict[str, Any]
"""An object of JSON. Times in it are UTC, written by whoever has a clock."""


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The figures of one pool at one moment. Open connections are `active + idle`."""

    active: int = 0
    idle: int = 0
    waiting: int = 0
    """Callers in line for a connection."""
    max_connections: int = 0
    leases: int = 0
    """Leases since the start."""


NodePools = tuple[PoolStats, PoolStats]
"""The pool for reads and the pool for writes of one node, which share the limit of the second."""


def lag_report(topology: Topology, max_lag_s: float, now_s: float, timestamp: str) -> Json:
    """How far behind each configured replica is, in order, and why it takes no plain reads if it takes none."""
    reasons = dict(plan_read(topology, PLAIN, max_lag_s, now_s).left_out)
    rows = [_lag_row(topology, node, reasons.get(node.name)) for node in topology.replicas]
    return {"timestamp": timestamp, "replicas": rows}


def health_report(topology: Topology, timestamp: str) -> Json:
    """Whether all is well with the replicas, in one sentence."""
    replicas = topology.replicas if topology.use_replicas else ()
    healthy_count = sum(_is_healthy_replica(topology, node) for node in replicas)
    healthy, message = _verdict(topology.use_replicas, len(replicas), healthy_count)
    return {
        "healthy": healthy,
        "timestamp": timestamp,
        "replicasEnabled": topology.use_replicas,
        "replicaCount": len(replicas),
        "healthyCount": healthy_count,
        "primary": topology.primary_name,
        "message": message,
    }


def connections(active: int, idle: int, max_connections: int, *, taken: int) -> Json:
    """The connections of one node; `taken` is how many of `max_connections` nobody else can have."""
    return {
        "total_connections": active + idle,
        "active_connections": active,
        "idle_connections": idle,
        "max_connections": max_connections,
        "utilisation": round(taken / max_connections, 4) if max_connections else None,
    }


def pool_connections(pools: NodePools) -> Json:
    """The connections of an application's pools of one node. An idle one can be lent: only active ones are taken."""
    active = sum(pool.active for pool in pools)
    idle = sum(pool.idle for pool in pools)
    waiting = sum(pool.waiting for pool in pools)
    return connections(active, idle, pools[1].max_connections, taken=active) | {"waiting": waiting}


def distribution(pools: Mapping[str, NodePools], primary: str) -> Json:
    """Leases since the start, by node; `primary` is the node that the settings call so."""
    counts = {
        name: {"reads": reads.leases, "writes": writes.leases} for name, (reads, writes) in pools.items()
    }
    total_reads = sum(count["reads"] for count in counts.values())
    replica_reads = total_reads - counts[primary]["reads"]
    return {
        "primary": counts.pop(primary),
        "replicas": counts,
        "replicaReadShare": round(replica_reads / total_reads, 4) if total_reads else None,
    }


def no_distribution(topology: Topology) -> Json:
    """The same shape for one who routes no reads and so has counted none."""
    nothing = {"reads": None, "writes": None}
    return {
        "primary": nothing,
        "replicas": {node.name: nothing for node in topology.replicas},
        "replicaReadShare": None,
    }


def explanation_report(explanation: Explanation, timestamp: str) -> Json:
    """Which nodes would serve a read, in order, and why the others would not."""
    return {
        "timestamp": timestamp,
        "candidates": list(explanation.candidates),
        "mustSee": explanation.must_see,
        "nodes": [_explanation_row(node) for node in explanation.nodes],
    }


def _explanation_row(node: NodeExplanation) -> Json:
    return {
        "name": node.name,
        "role": node.role.value if node.role else None,
        "candidate": node.candidate,
        "reason": node.reason,
        "detail": node.detail,
        "stalenessBoundSeconds": _to_ms(node.staleness_bound_s),
        "lagSeconds": _to_ms(node.lag_s),
        "satisfied": node.satisfied,
        "behindBytes": node.behind_bytes,
    }


def _lag_row(topology: Topology, node: NodeState, reason: Reason | None) -> Json:
    status = replica_status(topology, node)
    return {
        "name": node.name,
        "lagSeconds": None if status is Status.UNHEALTHY else _to_ms(lag_s(topology, node)),
        "status": status.value,
        "reason": reason,
        "detail": detail_of(node, reason),
    }


def _to_ms(seconds: float | None) -> float | None:
    """Rounded to milliseconds: more would only look exact."""
    return None if seconds is None else round(seconds, 3)


def _is_healthy_replica(topology: Topology, node: NodeState) -> bool:
    return replica_status(topology, node) in (Status.HEALTHY, Status.WARNING)


def _verdict(enabled: bool, count: int, healthy_count: int) -> tuple[bool, str]:
    if not enabled:
        return True, "Read replicas are disabled"
    if not count:
        return False, "No replicas are configured"
    if healthy_count == count:
        return True, f"All {count} replicas are healthy"
    return False, f"{healthy_count} of {count} replicas are healthy"
