"""What we believe of all nodes: an immutable value, and the functions that make the next one from what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from pgfleet.core.ejection import TRUSTED, Standing
from pgfleet.core.lineage import Fork, Lineage
from pgfleet.core.lsn import Lsn
from pgfleet.core.membership import Member
from pgfleet.core.node import Observation, Reason, Role
from pgfleet.core.staleness import PrimaryHistory

MOST_LIVES = 8
"""Lives of servers behind one address that are remembered."""
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
    standing: Standing = TRUSTED
    """What became of it on account of its speed."""
    is_full: bool = False
    """It lives, but had no connection left for the last probe: what is known of it grows old."""
    draining: bool = False
    """It takes no new read."""
    stood: Observation | None = None
    """When it was last seen as a standby, on the timeline that is `stood_on`."""
    stood_on: int | None = None
    is_shared: bool = False
    """Several servers stand behind it: what was seen of it says that it lives, and nothing of the next connection."""
    lives: tuple[str, ...] = ()
    """The lives of servers that answered before, but for the last: told by `incarnation`."""

    @property
    def is_aurora(self) -> bool:
        """Whether it replicates by its storage: then no position proves anything of it."""
        return self.observation is not None and self.observation.is_aurora


@dataclass(frozen=True, slots=True)
class Topology:
    """What we believe of all nodes. `nodes[0]` is the one that the settings call the primary, whatever it is now."""

    nodes: tuple[NodeState, ...]
    use_replicas: bool = True
    history: PrimaryHistory = field(default_factory=PrimaryHistory)
    lineage: Lineage = field(default_factory=Lineage)
    """The promotions of this cluster that we saw."""
    system_id: int | None = None
    """The cluster that this fleet is: learned once, from a primary, and kept."""
    highest_timeline: int = 0
    """The highest that a primary of this cluster was on, or that a standby of it was proven to follow."""
    primary_name: str | None = None
    """The node that is read as the primary; None when we know none that answers."""
    incumbent_name: str | None = None
    """The last primary on the highest timeline, also while it is away."""
    is_split: bool = False
    """Two servers claim to be the primary on the highest timeline: to be on it proves nothing."""
    panic_share: float = 0.5
    """When fewer than this part of the replicas would serve, those that were ejected serve as well."""

    def node(self, name: str) -> NodeState:
        """The node of this name. Raises KeyError when there is none."""
        if node := self.find(name):
            return node
        raise KeyError(name)

    def find(self, name: str) -> NodeState | None:
        """The node of this name; None: there is none, or none any more."""
        return next((node for node in self.nodes if node.name == name), None)

    @property
    def primary(self) -> NodeState | None:
        """The node that is read as the primary; None when we know none that answers."""
        return self.node(self.primary_name) if self.primary_name else None

    @property
    def writer_name(self) -> str | None:
        """The node that takes new writes: the primary, unless another server claims to be it too."""
        return None if self.is_split else self.primary_name

    @property
    def fenced(self) -> frozenset[str]:
        """The nodes that were primaries of this cluster when last seen, on a timeline that is over."""
        return frozenset(n.name for n in self.nodes if _is_fenced(n, self.system_id, self.highest_timeline))

    @property
    def awaits_heir(self) -> bool:
        """Whether a standby told of a promotion before the promoted one did. Until then no replica is proven."""
        written_by = self.history.written_by
        return (
            self.primary_name is None
            and written_by is not None
            and written_by.timeline < self.highest_timeline
        )

    @property
    def replicas(self) -> tuple[NodeState, ...]:
        """The nodes configured as replicas, in the order of their numbers."""
        return self.nodes[1:]

    @property
    def staying(self) -> tuple[NodeState, ...]:
        """The replicas that are to serve: those that are being drained are missed by nobody."""
        return tuple(node for node in self.replicas if not node.draining)

    def observe(self, name: str, seen: Observation) -> Topology:
        """What a probe or a new connection saw. An answer to a question older than the trouble does not clear it."""
        node = self.node(name)
        if node.trouble and seen.asked_s < node.trouble.since_s:
            return self
        if node.observation and seen.asked_s < node.observation.asked_s:
            return self
        timeline = self._timeline_of(node, seen)
        known = replace(node, observation=seen, trouble=None, timeline=timeline, is_full=False)
        known = replace(known, lives=_lives(node, seen), is_shared=self._is_shared(node, seen))
        if seen.role is Role.REPLICA:
            known = replace(known, stood=seen, stood_on=timeline)
        return self._with(known)._settle(name)

    def behind(self, endpoint: str, known: NodeState | None, seen: Observation) -> NodeState:
        """One of the servers behind a shared endpoint. `known`: what was known of it in this life."""
        before = known or NodeState(endpoint)
        return replace(before, observation=seen, timeline=self._timeline_of(before, seen))

    def _is_shared(self, node: NodeState, seen: Observation) -> bool:
        """Whether several servers answer. The configured primary may move from one server to another, and back."""
        return node.is_shared or (node is not self.nodes[0] and _is_of_another(node, seen))

    def fail(self, name: str, trouble: Trouble) -> Topology:
        """A probe or a caller's attempt failed. The first of a row of troubles tells since when."""
        node = self.node(name)
        if node.trouble:
            trouble = replace(trouble, since_s=node.trouble.since_s)
        return self._with(replace(node, trouble=trouble))._settle(name)

    def stand(self, name: str, standing: Standing) -> Topology:
        """What became of a node on account of its speed."""
        return self._with(replace(self.node(name), standing=standing))

    def fill(self, name: str) -> Topology:
        """A probe found that the node lives, and had no connection left for it."""
        return self._with(replace(self.node(name), is_full=True))

    def accept(self, system_id: int) -> Topology:
        """From now on this fleet is that cluster. What was believed of the old one is forgotten."""
        nodes = tuple(replace(n, timeline=_timeline(n) or None, fed_since_s=None) for n in self.nodes)
        fresh = Topology(nodes, self.use_replicas, system_id=system_id, panic_share=self.panic_share)
        topology = fresh._settle("")
        return topology if topology.primary_name is None else topology._settle(topology.primary_name)

    def become(self, members: Sequence[Member]) -> Topology:
        """The same fleet with these nodes. What is known of those that stay is kept; of a new one nothing is known."""
        known = {node.name: node for node in self.nodes}
        nodes = [
            replace(known.get(m.name) or NodeState(m.name), weight=m.weight, draining=m.draining)
            for m in members
        ]
        shared = {m.name for m in members if m.is_shared}
        nodes = [replace(node, is_shared=node.is_shared or node.name in shared) for node in nodes]
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
        highest = max(self.highest_timeline, *(_proven_timeline(n, system_id) for n in self.nodes))
        claims = [n for n in self.nodes if _claims(n, system_id, highest)]
        incumbent = next((n for n in claims if n.name == self.incumbent_name), None)
        rivals = [n for n in claims if not n.trouble or n is incumbent]
        primary = _elect([n for n in rivals if not n.trouble], incumbent)
        heir = primary or incumbent
        settled = replace(
            self,
            system_id=system_id,
            highest_timeline=highest,
            primary_name=primary.name if primary else None,
            incumbent_name=heir.name if heir else None,
            is_split=_is_split(rivals),
        )
        if primary and primary.name == changed and primary.observation:
            return settled._sampled(primary.observation)
        return settled

    def _sampled(self, seen: Observation) -> Topology:
        """Take a sample of the primary into its history, and note whom it feeds."""
        history = self.history.record(seen)
        is_same = history.written_by == self.history.written_by
        lineage = self.lineage if is_same else self._lineage_with(seen)
        standbys = set(map(_plain_name, seen.standbys))
        fed = [
            replace(node, fed_since_s=(node.fed_since_s if is_same else None) or seen.asked_s)
            if _plain_name(node.name) in standbys
            else replace(node, fed_since_s=None)
            for node in self.nodes
        ]
        return replace(self, history=history, lineage=lineage, nodes=tuple(fed))

    def _lineage_with(self, seen: Observation) -> Lineage:
        """The promotions, with the one that made this server the primary, if it was one."""
        before, timeline = self.history.written_by, seen.timeline or 0
        if before is None or before.system_id != seen.system_id or before.timeline >= timeline:
            return self.lineage
        lsn = self._fork_lsn(seen, before.timeline)
        survived_s = None if lsn is None else self.history.covered_s(lsn)
        since_s = -inf if survived_s is None else survived_s
        return self.lineage.after(Fork(before.timeline, timeline, lsn, since_s, seen.asked_s))

    def _fork_lsn(self, seen: Observation, timeline: int) -> Lsn | None:
        """Up to where this primary has all of that timeline, at the least: what it had replayed as a standby of it.

        What it told after the promotion is exact, if it was not restarted since: then it tells of another recovery.
        """
        node = self.primary
        stood = node.stood if node else None
        if stood is None or stood.system_id != seen.system_id or (node and node.stood_on) != timeline:
            return None
        is_next = seen.timeline == timeline + 1 and stood.incarnation == seen.incarnation
        return seen.fork_lsn if is_next and seen.fork_lsn is not None else stood.replay_lsn


def _is_fenced(node: NodeState, system_id: int | None, timeline: int) -> bool:
    seen = node.observation
    if seen is None or seen.role is not Role.PRIMARY or node.is_shared:
        return False
    return seen.system_id == system_id and (seen.timeline or 0) < timeline


def _claims(node: NodeState, system_id: int | None, timeline: int) -> bool:
    """Whether it was a primary of this cluster on this timeline when it was last seen."""
    seen = node.observation
    if seen is None or seen.role is not Role.PRIMARY or node.is_shared:
        return False
    return seen.system_id == system_id and (seen.timeline or 0) == timeline


def _proven_timeline(node: NodeState, system_id: int | None) -> int:
    """The timeline of a node of this cluster, a standby's too: where one follows, somebody was promoted. 0: unknown."""
    seen = node.observation
    return (seen and seen.system_id == system_id and node.timeline) or 0


def _timeline(node: NodeState) -> int:
    return (node.observation and node.observation.timeline) or 0


def _lives(node: NodeState, seen: Observation) -> tuple[str, ...]:
    """The lives that answered before this one, the oldest first."""
    before = node.observation
    if before is None or before.incarnation == seen.incarnation:
        return node.lives
    return (*(life for life in node.lives if life != before.incarnation), before.incarnation)[-MOST_LIVES:]


def _is_of_another(node: NodeState, seen: Observation) -> bool:
    """Whether this is another server than the last: it began earlier, or it has answered before the last.

    A server that was restarted began later. What was asked in the same tick of the clock tells no order.
    """
    before = node.observation
    if before is None or before.incarnation == seen.incarnation or seen.asked_s <= before.asked_s:
        return False
    return seen.incarnation in node.lives or _began(seen) < _began(before)


def _began(seen: Observation) -> int:
    """When that life began, by the server's own clock."""
    return int(seen.incarnation) if seen.incarnation.isdigit() else 0


def _is_split(rivals: list[NodeState]) -> bool:
    """Whether these are several servers. That one of them does not answer ends nothing: it has not yielded."""
    return len({_server(n.observation) for n in rivals if n.observation}) > 1


def _elect(answering: list[NodeState], incumbent: NodeState | None) -> NodeState | None:
    """The server that we already write to stays, by the first of its names; none takes its place while it claims it."""
    same = [node for node in answering if incumbent is None or _is_same_server(node, incumbent)]
    return next(iter(same), None)


def _cluster_of(nodes: Iterable[NodeState]) -> int | None:
    """The cluster of the configured primary once it answers; until then that of more than half of the nodes."""
    configured, *others = (node for node in nodes if not node.is_shared)
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
