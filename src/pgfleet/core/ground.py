"""What the nodes are judged against: which of them serve reads at all, and how far each of them has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgfleet.core.lineage import Coverage
from pgfleet.core.node import Observation, Reason, Role
from pgfleet.core.position import Watermark
from pgfleet.core.topology import NodeState, Topology


@dataclass(frozen=True, slots=True)
class Ground:
    """What the nodes are judged against, worked out once for all of them."""

    topology: Topology
    first_names: dict[tuple[int, str], str]
    """By server (cluster, incarnation) the first node that reached it: one postmaster may have two names."""

    @classmethod
    def of(cls, topology: Topology) -> Ground:
        """That of a topology."""
        first_names: dict[tuple[int, str], str] = {}
        for node in topology.nodes:
            if node.observation and not node.trouble and not node.is_shared:
                first_names.setdefault(server_of(node.observation), node.name)
        return cls(topology, first_names)

    @classmethod
    def behind(cls, topology: Topology, server: NodeState) -> Ground:
        """That of one server behind a shared endpoint: that another node is the same server is no matter there."""
        seen = server.observation
        return cls(topology, {server_of(seen): server.name} if seen else {})

    def exclude(self, node: NodeState) -> Reason | None:
        """Why this node serves no reads at all, however stale they may be."""
        if not self.topology.use_replicas:
            return Reason.REPLICAS_DISABLED
        if node.draining:
            return Reason.DRAINED
        if node.trouble:
            return node.trouble.reason
        if node.observation is None:
            return Reason.NOT_PROBED
        if node.is_shared:
            return None  # its connections are checked, each by itself
        return next((reason for check in _CHECKS if (reason := check(self, node, node.observation))), None)

    def covered_s(self, node: NodeState) -> float | None:
        """The latest moment whose every visible commit this replica has replayed; None: not known.

        Of Aurora it is the server's own word, and no proof.
        """
        seen = node.observation
        if seen and seen.aurora_lag_s is not None:
            return seen.asked_s - seen.aurora_lag_s
        return (
            None
            if not seen or seen.replay_lsn is None
            else self.topology.history.covered_s(seen.replay_lsn, seen.xmin)
        )

    def has_reached(self, node: NodeState, watermark: Watermark) -> bool:
        """Whether this replica has replayed all that lies before a position."""
        seen, lineage = node.observation, self.topology.lineage
        if not seen or seen.replay_lsn is None or node.timeline is None:
            return False
        return lineage.covers(watermark, node.timeline, seen.replay_lsn) is Coverage.REACHED

    def foreign(self, node: NodeState, seen: Observation) -> Reason | None:
        """Positions of another cluster mean nothing in ours."""
        if self.topology.system_id is None:
            return Reason.CLUSTER_UNKNOWN
        return None if seen.system_id == self.topology.system_id else Reason.FOREIGN_CLUSTER

    def no_standby(self, node: NodeState, seen: Observation) -> Reason | None:
        """A primary is no replica, whatever it is configured as."""
        if seen.role is Role.REPLICA:
            return None
        return Reason.FENCED if (seen.timeline or 0) < self.topology.highest_timeline else Reason.IS_PRIMARY

    def duplicate(self, node: NodeState, seen: Observation) -> Reason | None:
        """One server takes one node's part."""
        return None if self.first_names.get(server_of(seen)) == node.name else Reason.DUPLICATE

    def untimely(self, node: NodeState, seen: Observation) -> Reason | None:
        """Positions of two timelines do not compare: a standby of the old primary may stand past the new one.

        Aurora has none: its servers share their storage.
        """
        if seen.is_aurora:
            return None
        written_by = self.topology.history.written_by
        if written_by is None:
            return Reason.STALENESS_UNKNOWN
        proven = node.timeline == written_by.timeline == self.topology.highest_timeline
        return None if proven and not self.topology.is_split else Reason.TIMELINE_UNPROVEN


_CHECKS: tuple[Callable[[Ground, NodeState, Observation], Reason | None], ...] = (
    Ground.foreign,
    Ground.no_standby,
    Ground.duplicate,
    Ground.untimely,
)


def server_of(seen: Observation) -> tuple[int, str]:
    """Which server, and which life of it, an observation is of."""
    return seen.system_id, seen.incarnation
