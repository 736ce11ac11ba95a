"""The order in which the candidates of a read are asked, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pgfleet.board.fallback import AnyPool
from pgfleet.board.node import Node
from pgfleet.board.shared import SharedGate
from pgfleet.chance import CHANCE
from pgfleet.core.plan import Plan
from pgfleet.pool import Pool

C = TypeVar("C")


def in_turn(
    nodes: Mapping[str, Node[C]], plan: Plan, avoid: frozenset[str], first: AnyPool | None
) -> Iterator[Node[C]]:
    """Replicas with a free place, the other replicas, then the primary.

    `first` is whose turn it is among those with a place; among those without, the shortest line comes first.
    """
    # a node of the plan may have been removed meanwhile
    replicas = [nodes[name] for name in plan.replicas if name not in avoid and name in nodes]
    due = first.pool if isinstance(first, SharedGate) else first
    trials = [nodes[name].reads for name in plan.trials if name in nodes]
    CHANCE.shuffle(replicas)
    yield from sorted(replicas, key=lambda node: queue(node.reads, due, trials))
    if plan.primary and plan.primary in nodes and plan.primary not in avoid:
        yield nodes[plan.primary]


def queue(pool: Pool[Any], first: object, trials: Sequence[Pool[Any]]) -> tuple[bool, bool, bool, int]:
    """How long a caller may have to wait there, for sorting. Those on trial come last, but for a read that is due."""
    untried = pool in trials and pool is not first
    return untried, not pool.has_room(), pool is not first, pool.in_flight
