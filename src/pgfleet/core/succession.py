"""Why a node takes no writes, and whether to wait for one that does."""

from __future__ import annotations

from pgfleet.core.node import Reason, Role
from pgfleet.core.topology import NodeState, Topology


def why_no_writes(topology: Topology, node: NodeState) -> Reason:
    """Why this node, which is not the writer, takes no writes."""
    if node.trouble:
        return node.trouble.reason
    if node.observation is None:
        return Reason.NOT_PROBED if topology.use_replicas else Reason.REPLICAS_DISABLED
    if node.observation.role is Role.REPLICA:
        return Reason.IN_RECOVERY
    if node.observation.system_id != topology.system_id:
        return Reason.FOREIGN_CLUSTER
    return Reason.FENCED if node.name in topology.fenced else Reason.SPLIT


def told_of_writes(topology: Topology) -> tuple[str, ...]:
    """For each node what it last said, as the reason why it takes no writes."""
    return tuple(f"{n.name} {_told(topology, n)}" for n in topology.nodes if n.name != topology.writer_name)


def is_hopeless(topology: Topology) -> bool:
    """Whether to wait for a primary is in vain: none was ever known, and a node refuses this configuration.

    A server that is away may come back, and a standby may be promoted; a wrong password does not mend itself.
    """
    known = topology.incumbent_name or topology.history.written_by
    refused = [n for n in topology.nodes if n.trouble and n.trouble.reason is Reason.MISCONFIGURED]
    away = [n for n in topology.nodes if n.trouble and n not in refused]
    return not known and bool(refused) and not away


def _told(topology: Topology, node: NodeState) -> str:
    reason = why_no_writes(topology, node)
    if node.trouble:
        return f"{reason} ({node.trouble.detail})"
    if reason is Reason.FOREIGN_CLUSTER and node.observation:
        return f"{reason} ({node.observation.system_id})"
    return str(reason)
