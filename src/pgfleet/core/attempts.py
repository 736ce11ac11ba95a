"""Where one read has been sent, and whether it is sent once more."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pgfleet.core.node import Observation
from pgfleet.core.topology import NodeState

MOST_LOSSES = 2
"""Connections that one read may lose before it is asked whether it is the read that ends them."""
UNSEEN_LOSSES = 3
"""So many, on servers that live on, speak for themselves."""


@dataclass(frozen=True, slots=True)
class Tried:
    """Where a read has failed so far."""

    nodes: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    """Those where its connection ended under it."""
    in_conflict: frozenset[str] = frozenset()
    """Those where replay was in its way, in the first round: the next time it may not be."""
    is_second_round: bool = False

    def after(self, name: str, lost: bool, conflict: bool = False) -> Tried:
        """The same once it has failed on this node too."""
        return replace(
            self,
            nodes=self.nodes | {name},
            lost=self.lost | {name} if lost else self.lost,
            in_conflict=self.in_conflict | {name}
            if conflict and not self.is_second_round
            else self.in_conflict,
        )

    def once_more(self) -> Tried:
        """The same for a second and last round of those where replay was in its way."""
        return Tried(self.nodes - self.in_conflict, self.lost, is_second_round=True)

    @property
    def suspicious(self) -> bool:
        """Whether it may be this statement that brings servers down: to send it on could end them all."""
        return len(self.lost) >= MOST_LOSSES


NOWHERE = Tried()


def is_to_blame(alive: int, was_down: bool, replicas: int) -> bool:
    """Whether a read ended the servers that it lost: `alive` of them are in the same life as before.

    One that was seen down in between has had a backend crash. Some recover too fast to be seen, and then a network that
    cuts connections looks the same: so without that word it takes three of them, or all of the replicas. The primary is
    not asked for another.
    """
    return alive >= MOST_LOSSES and (was_down or alive >= min(UNSEEN_LOSSES, replicas))


def came_back_the_same(before: Observation | None, now: NodeState) -> bool:
    """Whether a server that was down is back in the same life of its postmaster.

    So it is after one of its backends crashed: the postmaster ends the others and recovers. A server that was killed,
    or has lost its machine, comes back as another incarnation, if at all.
    """
    if before is None or now.observation is None or now.trouble:
        return False
    return before.incarnation == now.observation.incarnation
