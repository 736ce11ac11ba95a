"""The answer to a plain read, ready made, and how it follows from what is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from math import inf
from typing import Generic, TypeVar

from pgfleet.board.fallback import AnyPool, Fallback, Gate
from pgfleet.board.node import Node
from pgfleet.board.shared import SharedGate
from pgfleet.board.turns import turns
from pgfleet.core.intent import ReadIntent
from pgfleet.core.plan import Plan
from pgfleet.core.topology import Topology
from pgfleet.pool import Pool, Pooled
from pgfleet.ports import Runtime
from pgfleet.settings import Settings

C = TypeVar("C")


class RoutingTable:
    """The answer to a plain read, ready made: `plan`, and `next_pool()` in its turn, until `refresh_at_s`."""

    __slots__ = ("covered_s", "names", "next_pool", "plan", "refresh_at_s")

    def __init__(
        self, plan: Plan, next_pool: Callable[[], AnyPool], refresh_at_s: float, covered_s: float
    ) -> None:
        self.plan = plan
        self.names = plan.replicas
        self.next_pool = next_pool
        self.refresh_at_s = refresh_at_s
        self.covered_s = covered_s
        """Every replica of the table, but for `plan.checked`, has replayed all that was visible at this moment."""

    def satisfies(self, intent: ReadIntent) -> bool:
        """Whether every node of the table may answer this read, if its connection does where those are checked."""
        return intent.seat is None and self.has_seen(intent)

    def has_seen(self, intent: ReadIntent) -> bool:
        """Whether every node of the table has replayed what this read must see, but for what its session has read."""
        if not intent.prefer_replica or intent.is_particular:
            return False
        if not self.names:
            return intent.unqualified in (None, "primary")
        return intent.not_before_s is None or intent.not_before_s < self.covered_s


def no_table(plan: Plan) -> RoutingTable:
    """A table that is never fresh."""

    def nobody() -> Pool[object]:
        raise AssertionError("a table that is never fresh is never asked")

    return RoutingTable(plan, nobody, -inf, -inf)


class Tables(Generic[C]):
    """Makes one routing table after another.

    `tell` says that reads go to the primary; `proves`, that a connection of a shared endpoint will do for a plain read.
    """

    def __init__(
        self,
        settings: Settings,
        fallback: Fallback,
        runtime: Runtime,
        tell: Callable[[Plan], None],
        proves: Callable[[Pooled[C]], bool],
    ) -> None:
        self._settings = settings
        self._fallback = fallback
        self._runtime = runtime
        self._tell = tell
        self._proves = proves
        self._turns: Iterator[AnyPool] = iter(())

    def following(
        self, before: RoutingTable, plan: Plan, topology: Topology, nodes: Mapping[str, Node[C]]
    ) -> RoutingTable:
        """The table after `before`. Replicas that stay the same keep their place in the round."""
        if not plan.replicas:
            return self._fallback_table(plan, nodes)
        if _round_of(plan) == _round_of(before.plan) and before.names:
            return _table(plan, before.next_pool)
        self._turns = self._round(plan, topology, nodes)
        return _table(plan, self._turns.__next__)

    def offering(self, plan: Plan, trials: Sequence[Node[C]]) -> RoutingTable:
        """The same round, begun with a turn of each of these."""
        pools = [self._offered(plan, node) for node in trials]
        return _table(plan, chain(pools, self._turns).__next__)

    def _offered(self, plan: Plan, node: Node[C]) -> Pool[C] | SharedGate[C]:
        return SharedGate(node.reads, self._proves) if node.name in plan.checked else node.reads

    def _round(self, plan: Plan, topology: Topology, nodes: Mapping[str, Node[C]]) -> Iterator[AnyPool]:
        """The turns of those that take turns, without end."""
        weight_of = {node.name: node.weight for node in topology.nodes}
        parts = [(name, part) for name, part in zip(plan.replicas, plan.parts, strict=True) if part]
        pools = [self._offered(plan, nodes[name]) for name, _ in parts]
        return turns(pools, [weight_of[name] * part for name, part in parts], self._settings.policy)

    def _fallback_table(self, plan: Plan, nodes: Mapping[str, Node[C]]) -> RoutingTable:
        """No replica qualifies: plain reads go to the primary, if there is one."""
        if plan.primary is None or (self._settings.unqualified != "primary" and self._fallback.is_capped):
            return no_table(plan)
        reads = nodes[plan.primary].reads
        pool = Gate(reads, self._fallback, self._runtime) if self._fallback.is_capped else reads

        def fall_back() -> AnyPool:
            self._tell(plan)
            return pool

        return RoutingTable(plan, fall_back, plan.refresh_at_s, inf)


def _round_of(plan: Plan) -> tuple[object, ...]:
    return plan.replicas, plan.parts, plan.checked


def _table(plan: Plan, next_pool: Callable[[], AnyPool]) -> RoutingTable:
    return RoutingTable(plan, next_pool, plan.refresh_at_s, plan.covered_s)
