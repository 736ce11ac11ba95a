"""When each node is probed next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from pgfleet.core.node import Reason, Role
from pgfleet.core.topology import NodeState, Topology

MAX_SAMPLE_INTERVAL_S = 1.0
RETRY_S = 0.25
MISCONFIGURED_RETRY_S = 5.0
SEARCH_RETRY_S = 0.1
SEARCH_LASTS_S = 10.0
"""For so long after the last failed write the nodes are asked in a hurry while nobody waits for the answer."""


@dataclass(frozen=True, slots=True)
class Search:
    """The search for a primary: writes failed, the last of them at `failed_s`."""

    failed_s: float = -inf

    def is_on(self, topology: Topology, waiting: int, now_s: float) -> bool:
        """Whether all nodes are asked in a hurry, while so many writers wait.

        It ends with a primary that answered a question of after the failure: what it was before, it may no longer be.
        """
        if self._found(topology):
            return False
        return waiting > 0 or now_s - self.failed_s < SEARCH_LASTS_S

    def _found(self, topology: Topology) -> bool:
        seen = topology.node(topology.writer_name).observation if topology.writer_name else None
        return seen is not None and seen.asked_s >= self.failed_s


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

    def next_probe_s(self, node: NodeState, unproven: bool, searching: bool = False) -> float:
        """Seconds until the next probe of this node, if nobody asks for one before.

        A replica that serves nothing only because it is not yet proven fresh is looked at soon again. While the primary
        is searched for, every node is, but for one that refuses our configuration: ten refused logins a second would
        mend nothing.
        """
        usual_s = self._usual_s(node, unproven)
        refuses = node.trouble and node.trouble.reason is Reason.MISCONFIGURED
        return min(usual_s, SEARCH_RETRY_S) if searching and not refuses else usual_s

    def _usual_s(self, node: NodeState, unproven: bool) -> float:
        if node.trouble:
            return MISCONFIGURED_RETRY_S if node.trouble.reason is Reason.MISCONFIGURED else RETRY_S
        if node.observation and node.observation.role is Role.PRIMARY:
            return min(MAX_SAMPLE_INTERVAL_S, self.health_interval_s, self.max_lag_s / 2)
        return min(RETRY_S, self.health_interval_s) if unproven else self.health_interval_s
