"""Whether a node is well, in the words of the alerts: target lag < 1 s, warning > 5 s, critical > 10 s."""

from __future__ import annotations

from enum import StrEnum

from pgfleet.core.node import Role
from pgfleet.core.plan import lag_s
from pgfleet.core.topology import NodeState, Topology

WARNING_LAG_S = 5.0
CRITICAL_LAG_S = 10.0


class Status(StrEnum):
    """How a replica is. `UNKNOWN`: it was not looked at yet, or its lag cannot be measured."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


def replica_status(topology: Topology, node: NodeState) -> Status:
    """How this replica is: by its last probe, and by its lag at that moment."""
    if node.trouble:
        return Status.UNHEALTHY
    seen = node.observation
    if seen is None or topology.system_id is None:
        return Status.UNKNOWN
    if seen.role is not Role.REPLICA or seen.system_id != topology.system_id:
        return Status.UNHEALTHY
    return _by_lag(lag_s(topology, node))


def is_healthy(topology: Topology, node: NodeState) -> bool:
    """A replica that answers, is a standby of this cluster and lags 10 s at most; or the primary, when it answers."""
    if node.name == topology.primary_name:
        return True
    return replica_status(topology, node) in (Status.HEALTHY, Status.WARNING)


def _by_lag(lag: float | None) -> Status:
    if lag is None:
        return Status.UNKNOWN
    if lag > CRITICAL_LAG_S:
        return Status.CRITICAL
    return Status.WARNING if lag > WARNING_LAG_S else Status.HEALTHY
