"""Why each node is, or is not, a candidate for a read: for people who ask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from pgfleet.core.freshness import behind_bytes, shows
from pgfleet.core.ground import Ground
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.node import Reason, Role
from pgfleet.core.plan import Plan, lag_s, staleness_bound_s
from pgfleet.core.position import Watermark
from pgfleet.core.topology import NodeState, Topology

AURORA = "Amazon Aurora: no position proves what it shows, so what must be seen is read from the primary"
SHARED = "several servers stand behind it: each connection is checked when it is lent"


@dataclass(frozen=True, slots=True)
class NodeExplanation:
    """One node's part in the answer."""

    name: str
    role: Role | None
    """What it said of itself; None: it never answered."""
    candidate: bool
    reason: str | None
    """Why it is left out."""
    detail: str | None
    """What the driver said, when the node is in trouble; how slow it is, when it is ejected."""
    staleness_bound_s: float | None
    """No read of it is staler; None: not known, or not a replica."""
    lag_s: float | None
    """Its lag when it was last probed; None: not measured."""
    satisfied: bool | None = None
    """Whether it has replayed what the read must see, when it was last probed; None: there is nothing of the kind."""
    behind_bytes: int | None = None
    """How much of the log it has still to replay until then; None: not known."""

    def __str__(self) -> str:
        behind = f" ({self.behind_bytes} bytes behind it)" if self.behind_bytes else ""
        return f"{self.name}: {'candidate' if self.candidate else self.reason}{behind}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which nodes would serve a read, in order, and why the others would not."""

    candidates: tuple[str, ...]
    """Replicas, which are taken in turn, and then the primary, if one is known."""
    nodes: tuple[NodeExplanation, ...]
    must_see: str | None = None
    """The position that the read must see, as `0/3000148 on timeline 1`, or why it is not known; None: nothing."""

    def __str__(self) -> str:
        lines = [f"must see {self.must_see}"] if self.must_see else []
        return "\n".join((*lines, *map(str, self.nodes)))


def explain(topology: Topology, plan: Plan, now_s: float, intent: ReadIntent = PLAIN) -> Explanation:
    """Put the plan of a read into words."""
    candidates = (*plan.replicas, *((plan.primary,) if plan.primary else ()))
    nodes = (_explain(topology, plan, node, candidates, now_s) for node in topology.nodes)
    if not intent.must_see:
        return Explanation(candidates, tuple(nodes))
    watermark = _watermark(topology, intent)
    seen = (_with_watermark(topology, told, plan, intent, watermark) for told in nodes)
    return Explanation(candidates, tuple(seen), _told(topology, watermark, intent))


def _watermark(topology: Topology, intent: ReadIntent) -> Watermark | None:
    """The position that such a read must see, as far as it is known by now."""
    if intent.after is not None or intent.not_before_s is None:
        return intent.after
    return topology.history.watermark(intent.not_before_s)


def _told(topology: Topology, watermark: Watermark | None, intent: ReadIntent) -> str:
    """What is known of the position that such a read must see."""
    if intent.not_before_s == inf:
        return "a write that is still open"
    if topology.primary and topology.primary.is_aurora:
        return "something of which Aurora tells no position"
    return str(watermark) if watermark else "a position that the next sample of the primary tells"


def _with_watermark(
    topology: Topology, told: NodeExplanation, plan: Plan, intent: ReadIntent, watermark: Watermark | None
) -> NodeExplanation:
    node = topology.node(told.name)
    if node.is_shared:
        return told  # each connection has an answer of its own
    if node.observation is None or node.observation.role is not Role.REPLICA:
        return replace(told, satisfied=told.name == plan.primary)
    satisfied = shows(Ground.of(topology), intent, node)
    return replace(told, satisfied=satisfied, behind_bytes=behind_bytes(topology, node, watermark))


def _explain(
    topology: Topology, plan: Plan, node: NodeState, candidates: tuple[str, ...], now_s: float
) -> NodeExplanation:
    candidate = node.name in candidates
    reason = None if candidate else plan.reason(node.name) or "the read prefers the primary"
    return NodeExplanation(
        name=node.name,
        role=node.observation.role if node.observation else None,
        candidate=candidate,
        reason=str(reason) if reason else None,
        detail=detail_of(node, reason),
        staleness_bound_s=staleness_bound_s(topology, node, now_s),
        lag_s=lag_s(topology, node),
    )


def detail_of(node: NodeState, reason: str | None) -> str | None:
    """More of the reason why a node is left out, if there is more to say."""
    if node.trouble:
        return node.trouble.detail
    if node.is_shared:
        return SHARED
    if node.is_aurora and reason == Reason.NOT_CAUGHT_UP:
        return AURORA
    return node.standing.detail if reason == Reason.EJECTED else None
