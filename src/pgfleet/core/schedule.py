"""When each node is probed next."""

from __future__ import annotations

from dataclasses import dataclass

from pgfleet.core.node import Reason, Role
from pgfleet.core.topology import NodeState

MAX_SAMPLE_INTERVAL_S = 1.0
RETRY_S = 0.25
MISCONFIGURED_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look: as the settings ask, and often enough for the bound on staleness."""

    health_interval_s: float
    max_lag_s: float

    def next_probe_s(self, node: NodeState, unproven: bool) -> float:
        """Seconds until the next probe of this node, if nobody asks for one before.

        A replica that serves nothing only because it is not yet proven fresh is looked at soon again.
        """
        if node.trouble:
            return MISCONFIGURED_RETRY_S if node.trouble.reason is Reason.MISCONFIGURED else RETRY_S
        if node.observation and node.observation.role is Role.PRIMARY:
            return min(MAX_SAMPLE_INTERVAL_S, self.health_interval_s, self.max_lag_s / 2)
        return min(RETRY_S, self.health_interval_s) if unproven else self.health_interval_s
