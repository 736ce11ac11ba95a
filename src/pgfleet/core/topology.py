"""What we believe of all nodes: an immutable value, and the functions that make the next one from what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pgfleet.core.node import Observation, Reason, Role
from pgfleet.core.staleness import PrimaryHistory


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a node cannot be used although it is configured: what happened, and since when."""

    reason: Reason
    detail: str
    since_s: float


@dataclass(frozen=True, slots=True)
class NodeState:
    """One configured server and what we last learned of it."""

    name: str
    weight: int = 1
    observation: Observation | None = None
    trouble: Trouble | None = None
    """Set by the first failure since the last good observation, which clears it."""


@dataclass(frozen=True, slots=True)
class Topology:
    """What we believe of all nodes. `nodes[0]` is the one that the settings call the primary, whatever it is now."""

    nodes: tuple[NodeState, ...]
    use_replicas: bool = True
    history: PrimaryHistory = field(default_factory=PrimaryHistory)
    system_id: int | None = None
    """The cluster that this fleet is: learned once, from a primary, and kept."""
    highest_timeline: int = 0
    primary_name: str | None = None
    """The node that takes writes; None when we know none that answers."""

    def node(self, name: str) -> NodeState:
        """The node of this name. Raises KeyError when no such node is configured."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def primary(self) -> NodeState | None:
        """The node that takes writes; None when we know none that answers."""
        return self.node(self.primary_name) if self.primary_name else None

    @property
    def replicas(self) -> tuple[NodeState, ...]:
        """The nodes configured as replicas, in the order of their numbers."""
        return self.nodes[1:]

    def observe(self, name: str, seen: Observation) -> Topology:
        """What a probe or a new connection saw. An answer to a question older than the trouble does not clear it."""
        node = self.node(name)
        if node.trouble and seen.asked_s < node.trouble.since_s:
            return self
        if node.observation and seen.asked_s < node.observation.asked_s:
            return self
        return self._with(replace(node, observation=seen, trouble=None))._settle(name)

    def fail(self, name: str, trouble: Trouble) -> Topology:
        """A probe or a caller's attempt failed. The first of a row of troubles tells since when."""
        node = self.node(name)
        if node.trouble:
            trouble = replace(trouble, since_s=node.trouble.since_s)
        return self._with(replace(node, trouble=trouble))._settle(name)

    def _with(self, changed: NodeState) -> Topology:
        return replace(self, nodes=tuple(changed if n.name == changed.name else n for n in self.nodes))

    def _settle(self, changed: str) -> Topology:
        """Draw what follows from the nodes: which cluster, which primary, and its history."""
        system_id = self.system_id if self.system_id is not None else _cluster_of(self.nodes)
        ours = [n for n in self.nodes if _writable(n, system_id)]
        highest = max([self.highest_timeline, *(_timeline(n) for n in ours)])
        primary = _elect([n for n in ours if _timeline(n) == highest], self.primary_name)
        history = self.history
        if primary and primary.name == changed and primary.observation:
            history = history.record(primary.observation)
        return replace(
            self,
            system_id=system_id,
            highest_timeline=highest,
            primary_name=primary.name if primary else None,
            history=history,
        )


def _writable(node: NodeState, system_id: int | None) -> bool:
    seen = node.observation
    return seen is not None and not node.trouble and seen.role is Role.PRIMARY and seen.system_id == system_id


def _timeline(node: NodeState) -> int:
    return (node.observation and node.observation.timeline) or 0


def _elect(candidates: list[NodeState], incumbent: str | None) -> NodeState | None:
    """Of two primaries on one timeline the one that we already write to stays."""
    for node in candidates:
        if node.name == incumbent:
            return node
    return candidates[0] if candidates else None


def _cluster_of(nodes: Iterable[NodeState]) -> int | None:
    """The cluster of the configured primary once it answers; until then that of more than half of the nodes."""
    configured, *others = nodes
    if configured.observation:
        return configured.observation.system_id
    counted = Counter(n.observation.system_id for n in others if n.observation)
    system_id, count = next(iter(counted.most_common(1)), (None, 0))
    return system_id if count * 2 > len(others) + 1 else None
