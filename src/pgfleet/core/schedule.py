"""When each node is probed next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgfleet.core.node import Reason, Role
from pgfleet.core.topology import NodeState

MAX_SAMPLE_INTERVAL_S = 1.0
RETRY_S = 0.25
MISCONFIGURED_RETRY_S = 5.0


LONG_S = 0.25
"""An attempt that has been under way for so long makes one wonder whether its node still answers."""
RENEW_S = 1.0
"""How often one wonders again about an attempt whose node was found well: it is a long statement."""


def attempts_call_for_a_probe(begun_s: Iterable[float], asked_s: float, now_s: float) -> bool:
    """Whether the attempts under way on a node, which began then, are a reason to probe it; `asked_s`: the last was.

    They are when one has grown long since, and for one that goes on being long, now and then.
    """
    grown_s = [at_s + LONG_S for at_s in begun_s if at_s + LONG_S <= now_s]
    if not grown_s:
        return False
    return now_s - asked_s >= (LONG_S if max(grown_s) > asked_s else RENEW_S)


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
