"""Sends a read to a second replica when the first is late; the first answer wins, the loser is told to stop."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Generic, TypeVar

from pgfleet.board import Node
from pgfleet.core.budget import Budget
from pgfleet.core.failure import Phase
from pgfleet.core.hedge import BURST, EXTRA_LOAD, StatementClasses, may_hedge
from pgfleet.core.intent import ReadIntent
from pgfleet.core.statement import leaves_session_alone
from pgfleet.lender import CANDIDATE_SLICE_S, Lender
from pgfleet.pool import Pool, Pooled
from pgfleet.ports import Race, Runtime

C = TypeVar("C")


class NoSecond(Exception):
    """There is no second attempt after all: no connection for it, or the first has answered meanwhile."""


PATIENCE_S = 0.1
"""The longest that a second attempt waits for its connection."""


class Hedging(Generic[C]):
    """What all hedged reads of a router share: how long each statement takes, and how many more may be sent."""

    def __init__(self, lender: Lender[C], runtime: Runtime) -> None:
        self.lender = lender
        self.runtime = runtime
        self._classes = StatementClasses()
        self._budget = Budget(EXTRA_LOAD, BURST)
        self._lock = runtime.lock()

    def take(self, intent: ReadIntent) -> Pooled[C] | None:
        """An idle connection of any replica that qualifies. To open one may take long, just there: that is done beside.

        A server that freezes has soon lost all its connections to second reads that won.
        """
        if pooled := self.lender.take(intent):
            return pooled
        board, nodes = self.lender.board, self.lender.board.nodes
        missed, board.missed = board.missed, None
        if isinstance(missed, Pool) and not missed.is_growing():
            self.runtime.spawn(self._grow(missed), "grow")
        for name in board.plan(intent).replicas:
            node = nodes.get(name)
            if node and (pooled := node.reads.take()):
                pooled.pool.leases += 1
                pooled.lent_s = self.runtime.clock()
                return pooled
        return None

    async def _grow(self, pool: Pool[C]) -> None:
        try:
            await pool.grow(CANDIDATE_SLICE_S)
        except Exception as error:
            self.lender.met(self.lender.node_with(pool), error, Phase.CONNECT, "read")

    async def fetch(self, sql: str, args: Sequence[Any], intent: ReadIntent, pooled: Pooled[C]) -> list[Any]:
        """The rows of one statement, begun on this connection. When another was faster, this one is abandoned."""
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

    async def _race(self, first: Any, delay_s: float, second: SecondFetch[C]) -> list[Any]:
        race: Race[list[Any]] = self.runtime.race(first, delay_s, second)
        rows = await race
        if race.by_second:
            await second.end_first(race.first_error)
        return rows

    def second_node(self, pooled: Pooled[C], intent: ReadIntent) -> Node[C] | None:
        """The other replica that the read may take now; None: there is none, or the fleet cannot bear it."""
        board = self.lender.board
        names = board.plan(intent).replicas
        first = self.lender.node_of(pooled).name
        if first not in names or not may_hedge(len(names), len(board.topology.staying)):
            return None
        others = [board.nodes[name] for name in names if name != first and name in board.nodes]
        free = [node for node in others if node.reads.has_room()]
        node = min(free, key=lambda other: other.reads.in_flight, default=None)
        return node if node and self._granted() else None

    def _granted(self) -> bool:
        sent = sum(node.reads.leases for node in self.lender.board.nodes.values())
        with self._lock:
            return self._budget.spend(sent, self.runtime.clock())


class SecondFetch(Generic[C]):
    """The second attempt at one read, if it comes to that."""

    def __init__(
        self, hedging: Hedging[C], first: Pooled[C], sql: str, args: Sequence[Any], intent: ReadIntent
    ) -> None:
        self._hedging = hedging
        self._lender = hedging.lender
        self._first = first
        self._sql = sql
        self._args = args
        self._intent = intent
        self._lock = hedging.runtime.lock()
        self._pooled: Pooled[C] | None = None
        """The connection, for as long as the statement is under way."""
        self._lost = False

    def begin(self) -> Coroutine[Any, Any, list[Any]] | None:
        """The read on another replica, if one may be asked."""
        node = self._hedging.second_node(self._first, self._intent)
        return self._run(node) if node else None

    async def _run(self, node: Node[C]) -> list[Any]:
        pooled = await self._lender.lend_from(node, self._intent, self._hedging.runtime.clock() + PATIENCE_S)
        if pooled is None:
            raise NoSecond
        self._hold(pooled)
        try:
            rows = await pooled.pool.connector.fetch(pooled.raw, self._sql, self._args)
        except BaseException as error:
            if not self._let_go():
                await self._lender.give_back(pooled, error)
            raise
        pooled.pool.answers.add(self._hedging.runtime.clock() - pooled.lent_s)
        if not self._let_go():
            await self._lender.done(pooled, leaves_session_alone(self._sql))
        return rows

    def _hold(self, pooled: Pooled[C]) -> None:
        with self._lock:
            if self._lost:
                pooled.pool.give(pooled)
                raise NoSecond
            self._first.twin = self._pooled = pooled
            pooled.replayable = True

    def _let_go(self) -> bool:
        """The statement has ended. Whether it was cut, so that the connection ends too."""
        with self._lock:
            pooled, self._pooled, self._first.twin = self._pooled, None, None
            assert pooled
            pooled.replayable = False
            if self._lost:
                pooled.pool.discard(pooled)
            return self._lost

    def cut(self) -> None:
        """The first has answered, and this one is still under way."""
        with self._lock:
            self._lost = True
            if self._pooled:
                self._abandon(self._pooled)

    def cut_first(self) -> None:
        """This one has answered, and the first is still under way."""
        self._abandon(self._first)

    def _abandon(self, pooled: Pooled[C]) -> None:
        pooled.severed = True
        self._hedging.runtime.spawn(pooled.pool.connector.abandon(pooled.raw), "abandon")

    async def end_first(self, error: Exception | None) -> None:
        """The first has lost, and nobody is in its statement any more. `error`: what it failed with by itself."""
        self._first.replayable = False
        self._first.abandoned = True
        self._lender.look_at(self._first)
        if error is None:
            self._first.pool.discard(self._first)
        else:
            await self._lender.give_back(self._first, error)
