"""Why each node is, or is not, a candidate for a read: for people who ask."""

from __future__ import annotations

from dataclasses import dataclass

from pgfleet.core.node import Reason, Role
from pgfleet.core.plan import Plan, lag_s, staleness_bound_s
from pgfleet.core.topology import NodeState, Topology


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


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which nodes would serve a read, in order, and why the others would not."""

    candidates: tuple[str, ...]
    """Replicas, which are taken in turn, and then the primary, if one is known."""
    nodes: tuple[NodeExplanation, ...]

    def __str__(self) -> str:
        lines = [f"{n.name}: {'candidate' if n.candidate else n.reason}" for n in self.nodes]
        return "\n".join(lines)


def explain(topology: Topology, plan: Plan, now_s: float) -> Explanation:
    """Put a plan into words."""
    candidates = (*plan.replicas, *((plan.primary,) if plan.primary else ()))
    return Explanation(
        candidates, tuple(_explain(topology, plan, node, candidates, now_s) for node in topology.nodes)
    )


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
    return node.standing.detail if reason == Reason.EJECTED else None
