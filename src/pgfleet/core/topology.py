"""What we believe of all nodes: an immutable value, and the functions that make the next one from what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from pgfleet.core.membership import Member
from pgfleet.core.node import Observation, Reason, Role
from pgfleet.core.staleness import PrimaryHistory

FED_FOR_S = 0.5
"""A standby that the primary turns away is among its standbys for the milliseconds of each attempt."""


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
    timeline: int | None = None
    """The timeline that its position is known to lie on; None: not known."""
    fed_since_s: float | None = None
    """Since when every sample of the present primary has shown it among the standbys; None: the last did not."""
    draining: bool = False
    """It takes no new read."""


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
    is_split: bool = False
    """Two servers take writes on the highest timeline: to be on it proves nothing."""

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
        known = replace(node, observation=seen, trouble=None, timeline=self._timeline_of(node, seen))
        return self._with(known)._settle(name)

    def fail(self, name: str, trouble: Trouble) -> Topology:
        """A probe or a caller's attempt failed. The first of a row of troubles tells since when."""
        node = self.node(name)
        if node.trouble:
            trouble = replace(trouble, since_s=node.trouble.since_s)
        return self._with(replace(node, trouble=trouble))._settle(name)

    def become(self, members: Sequence[Member]) -> Topology:
        """The same fleet with these nodes. What is known of those that stay is kept; of a new one nothing is known."""
        known = {node.name: node for node in self.nodes}
        nodes = [
            replace(known.get(m.name) or NodeState(m.name), weight=m.weight, draining=m.draining)
            for m in members
        ]
        return replace(self, nodes=tuple(nodes))._settle("")

    def _with(self, changed: NodeState) -> Topology:
        return replace(self, nodes=tuple(changed if n.name == changed.name else n for n in self.nodes))

    def _timeline_of(self, node: NodeState, seen: Observation) -> int | None:
        """The highest timeline that anything proves: no standby leaves one for a lower one in its life."""
        before = node.timeline if node.observation and _server(node.observation) == _server(seen) else None
        return max(seen.timeline or 0, before or 0, self._fed_timeline(node, seen) or 0) or None

    def _fed_timeline(self, node: NodeState, seen: Observation) -> int | None:
        """That of the primary, if it had been feeding this standby for a while before the standby was asked."""
        sampled = self.primary.observation if self.primary else None
        if sampled is None or node.fed_since_s is None or seen.role is Role.PRIMARY:
            return None
        stood_s = sampled.asked_s - node.fed_since_s
        return sampled.timeline if stood_s >= FED_FOR_S and sampled.answered_s <= seen.asked_s else None

    def _settle(self, changed: str) -> Topology:
        """Draw what follows from the nodes: which cluster, which primary, and its history."""
        system_id = self.system_id if self.system_id is not None else _cluster_of(self.nodes)
        ours = [n for n in self.nodes if _writable(n, system_id)]
        highest = max([self.highest_timeline, *(_timeline(n) for n in ours)])
        rivals = [n for n in ours if _timeline(n) == highest]
        primary = _elect(rivals, self.primary_name)
        settled = replace(
            self,
            system_id=system_id,
            highest_timeline=highest,
            primary_name=primary.name if primary else None,
            is_split=len({_server(n.observation) for n in rivals if n.observation}) > 1,
        )
        if primary and primary.name == changed and primary.observation:
            return settled._sampled(primary.observation)
        return settled

    def _sampled(self, seen: Observation) -> Topology:
        """Take a sample of the primary into its history, and note whom it feeds."""
        history = self.history.record(seen)
        is_same = history.written_by == self.history.written_by
        standbys = set(map(_plain_name, seen.standbys))
        fed = [
            replace(node, fed_since_s=(node.fed_since_s if is_same else None) or seen.asked_s)
            if _plain_name(node.name) in standbys
            else replace(node, fed_since_s=None)
            for node in self.nodes
        ]
        return replace(self, history=history, nodes=tuple(fed))


def _writable(node: NodeState, system_id: int | None) -> bool:
    seen = node.observation
    return seen is not None and not node.trouble and seen.role is Role.PRIMARY and seen.system_id == system_id


def _timeline(node: NodeState) -> int:
    return (node.observation and node.observation.timeline) or 0


def _elect(candidates: list[NodeState], incumbent: str | None) -> NodeState | None:
    """Of two primaries on one timeline the one that we already write to stays, by the first of its names."""
    kept = next((node for node in candidates if node.name == incumbent), None)
    same = [node for node in candidates if kept is None or _is_same_server(node, kept)]
    return next(iter(same), None)


def _cluster_of(nodes: Iterable[NodeState]) -> int | None:
    """The cluster of the configured primary once it answers; until then that of more than half of the nodes."""
    configured, *others = nodes
    if configured.observation:
        return configured.observation.system_id
    counted = Counter(n.observation.system_id for n in others if n.observation)
    system_id, count = next(iter(counted.most_common(1)), (None, 0))
    return system_id if count * 2 > len(others) + 1 else None


def _is_same_server(one: NodeState, other: NodeState) -> bool:
    a, b = one.observation, other.observation
    return a is not None and b is not None and _server(a) == _server(b)


def _server(seen: Observation) -> tuple[int, str]:
    return seen.system_id, seen.incarnation


def _plain_name(name: str) -> str:
    """A name as `application_name` may spell it."""
    return name.lower().replace("-", "_")
