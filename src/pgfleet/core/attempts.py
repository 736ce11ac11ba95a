"""Where one read has been sent, and whether it is sent once more."""

from __future__ import annotations

from dataclasses import dataclass

from pgfleet.core.node import Observation
from pgfleet.core.topology import NodeState

MOST_LOSSES = 2
"""Connections that one read may lose before it is asked whether it is the read that ends them."""


@dataclass(frozen=True, slots=True)
class Tried:
    """Where a read has failed so far."""

    nodes: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    """Those where its connection ended under it."""

    def after(self, name: str, lost: bool) -> Tried:
        """The same once it has failed on this node too."""
        return Tried(self.nodes | {name}, self.lost | {name} if lost else self.lost)

    @property
    def suspicious(self) -> bool:
        """Whether it may be this statement that brings servers down: to send it on could end them all."""
        return len(self.lost) >= MOST_LOSSES


NOWHERE = Tried()


def came_back_the_same(before: Observation | None, now: NodeState) -> bool:
    """Whether a server that was down is back in the same life of its postmaster.

    So it is after one of its backends crashed: the postmaster ends the others and recovers. A server that was killed,
    or has lost its machine, comes back as another incarnation, if at all.
    """
    if before is None or now.observation is None or now.trouble:
        return False
    return before.incarnation == now.observation.incarnation
