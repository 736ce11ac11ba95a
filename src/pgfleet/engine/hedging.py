"""Sends a read to a second replica when the first is late; the first answer wins, the loser is told to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from pgfleet.board import Node
from pgfleet.board.shared import SharedGate
from pgfleet.core.budget import Budget
from pgfleet.core.failure import Phase
from pgfleet.core.hedge import BURST, EXTRA_LOAD, StatementClasses, may_hedge
from pgfleet.core.intent import ReadIntent
from pgfleet.engine.allowance import Allowance
from pgfleet.engine.knowledge import Knowledge
from pgfleet.engine.lender import CANDIDATE_SLICE_S, Lender
from pgfleet.engine.returns import Returns
from pgfleet.engine.second import SecondFetch
from pgfleet.pool import Pool, Pooled
from pgfleet.ports import Race, Runtime

C = TypeVar("C")

END_TIMEOUT_S = 1.0
"""The longest that the loser may take to stop, before its connection is cut."""


class Elsewhere(NamedTuple):
    """The rows of a read that was answered on another connection than the one it began on."""

    rows: Any


class Hedging(Generic[C]):
    """What all hedged reads of a router share: how long each statement takes, and how many more may be sent."""

    def __init__(
        self, lender: Lender[C], returns: Returns[C], knowledge: Knowledge, runtime: Runtime
    ) -> None:
        self.lender = lender
        self.returns = returns
        self.knowledge = knowledge
        self.runtime = runtime
        self._classes = StatementClasses()
        self._extra = Allowance(lender.board, Budget(EXTRA_LOAD, BURST), runtime)

    def take(self, intent: ReadIntent) -> Pooled[C] | None:
        """An idle connection of any replica that qualifies. To open one may take long, just there: that is done beside.

        A server that freezes has soon lost all its connections to second reads that won.
        """
        if pooled := self.lender.take(intent):
            return pooled
        board, nodes = self.lender.board, self.lender.board.nodes
        missed, board.missed = board.missed, None
        if isinstance(missed, SharedGate) and not missed.has_idle():
            missed = missed.pool
        if isinstance(missed, Pool) and not missed.is_growing():
            self.runtime.spawn(self._grow(missed), "grow")
        plan = board.plan(intent)
        for name in plan.trusted:
            node = None if name in plan.checked else nodes.get(name)
            if node and (pooled := node.reads.take()):
                pooled.pool.leases += 1
                pooled.lent_s = self.runtime.clock()
                self.lender.seats.note(pooled, intent)
                return pooled
        return None

    async def _grow(self, pool: Pool[C]) -> None:
        try:
            await pool.grow(CANDIDATE_SLICE_S)
        except Exception as error:
            self.returns.met(self.returns.node_with(pool), error, Phase.CONNECT, "read")

    async def fetch(
        self, sql: str, args: Sequence[Any], intent: ReadIntent, pooled: Pooled[C]
    ) -> list[Any] | Elsewhere:
        """The rows of one statement, begun on this connection, or found elsewhere: then this one is taken back."""
        rows: list[Any] | Elsewhere
        known = self._classes.of(sql)
        began_s = self.runtime.clock()
        first = pooled.pool.connector.fetch(pooled.raw, sql, args)
        if known.delay_s is None:
            rows = await first
        else:
            rows = await self._race(first, known.delay_s, SecondFetch(self, pooled, sql, args, intent))
        spent_s = self.runtime.clock() - began_s
        known.add(spent_s)
        pooled.pool.answers.add(spent_s)  # of one that lost it is known that it would have taken longer
        return rows

    async def _race(self, first: Any, delay_s: float, second: SecondFetch[C]) -> list[Any] | Elsewhere:
        race: Race[list[Any]] = self.runtime.race(first, delay_s, second)
        rows = await race
        if race.by_second:
            second.end_first(race.first_error)
            return Elsewhere(rows)
        return rows

    def second_node(self, pooled: Pooled[C], intent: ReadIntent) -> Node[C] | None:
        """The other replica that the read may take now; None: there is none, or the fleet cannot bear it."""
        board, nodes = self.lender.board, self.lender.board.nodes
        plan = board.plan(intent)
        first = self.returns.node_of(pooled).name
        if first not in plan.replicas or not may_hedge(len(plan.replicas), len(board.topology.staying)):
            return None
        others = [nodes[name] for name in plan.trusted if name != first and name in nodes]
        free = [node for node in others if node.reads.has_room()]
        node = min(free, key=lambda other: other.reads.in_flight, default=None)
        return node if node and self._extra.grant() else None

    def give_back(self, pooled: Pooled[C], error: Exception) -> None:
        """Take the connection of a first back that has failed by itself, beside the caller, who has his rows."""
        self.runtime.spawn(self._give_back(pooled, error), "hedge failed")

    async def _give_back(self, pooled: Pooled[C], error: Exception) -> None:
        await self.returns.give_back(pooled, error)

    def take_back(self, pooled: Pooled[C], end: Awaitable[None] | None = None) -> None:
        """Take the loser's connection back beside the caller: clean if its server stops in time, else dropped."""
        pooled.tell_unseen()
        self.runtime.spawn(self._take_back(pooled, end), "hedge lost")

    async def _take_back(self, pooled: Pooled[C], end: Awaitable[None] | None) -> None:
        timer = self.runtime.call_later(END_TIMEOUT_S, partial(pooled.pool.sever, pooled))
        try:
            if end:
                await end
            if pooled.pool.connector.is_idle(pooled.raw):
                await pooled.pool.reset_and_give(pooled)
            else:
                self.returns.abandon(pooled)
        finally:
            timer.cancel()
