"""Sends a read to a second replica when the first is late; the first answer wins, the loser is told to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from pgfleet.board import Node
from pgfleet.core.budget import Budget
from pgfleet.core.failure import Phase
from pgfleet.core.hedge import BURST, EXTRA_LOAD, StatementClasses, may_hedge
from pgfleet.core.intent import ReadIntent
from pgfleet.core.statement import leaves_session_alone
from pgfleet.engine.knowledge import Knowledge
from pgfleet.engine.lender import CANDIDATE_SLICE_S, Lender
from pgfleet.engine.returns import Returns
from pgfleet.pool import Pool, Pooled
from pgfleet.ports import Race, Runtime

C = TypeVar("C")


class NoSecond(Exception):
    """There is no second attempt after all: no connection for it, or the first has answered meanwhile."""


END_TIMEOUT_S = 1.0
"""The longest that the loser may take to stop, before its connection is cut."""
PATIENCE_S = 0.1
"""The longest that a second attempt waits for its connection."""


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
            await second.end_first(race.first_error)
            return Elsewhere(rows)
        return rows

    def second_node(self, pooled: Pooled[C], intent: ReadIntent) -> Node[C] | None:
        """The other replica that the read may take now; None: there is none, or the fleet cannot bear it."""
        board = self.lender.board
        names = board.plan(intent).replicas
        first = self.returns.node_of(pooled).name
        if first not in names or not may_hedge(len(names), len(board.topology.staying)):
            return None
        others = [board.nodes[name] for name in names if name != first and name in board.nodes]
        free = [node for node in others if node.reads.has_room()]
        node = min(free, key=lambda other: other.reads.in_flight, default=None)
        return node if node and self._granted() else None

    def take_back(self, pooled: Pooled[C], end: Awaitable[None] | None = None) -> None:
        """Take the loser's connection back beside the caller: clean if its server stops in time, else dropped."""
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

    def _granted(self) -> bool:
        sent = sum(node.reads.leases for node in self.lender.board.nodes.values())
        with self._lock:
            return self._budget.spend(sent, self.runtime.clock())


class SecondFetch(Generic[C]):
    """The second attempt at one read, if it comes to that."""

    __slots__ = (
        "_args", "_first", "_handed_over", "_hedging", "_intent", "_lock", "_lost", "_pooled", "_returns", "_sql"
    )  # fmt: skip

    def __init__(
        self, hedging: Hedging[C], first: Pooled[C], sql: str, args: Sequence[Any], intent: ReadIntent
    ) -> None:
        self._hedging = hedging
        self._returns = hedging.returns
        self._first = first
        self._sql = sql
        self._args = args
        self._intent = intent
        self._pooled: Pooled[C] | None = None
        """The connection, for as long as the statement is under way."""
        self._lost = False
        self._handed_over = False

    def begin(self) -> Coroutine[Any, Any, list[Any]] | None:
        """The read on another replica, if one may be asked."""
        self._lock = self._hedging.runtime.lock()
        node = self._hedging.second_node(self._first, self._intent)
        return self._run(node) if node else None

    async def _run(self, node: Node[C]) -> list[Any]:
        pooled = await self._hedging.lender.lend_from(
            node, self._intent, self._hedging.runtime.clock() + PATIENCE_S
        )
        if pooled is None:
            raise NoSecond
        self._hold(pooled)
        try:
            rows = await pooled.pool.connector.fetch(pooled.raw, self._sql, self._args)
        except BaseException as error:
            if not self._let_go():
                if isinstance(error, Exception):
                    await self._returns.give_back(pooled, error)
                else:
                    self._hedging.take_back(pooled)
            raise
        pooled.pool.answers.add(self._hedging.runtime.clock() - pooled.lent_s)
        if not self._let_go():
            await self._returns.done(pooled, leaves_session_alone(self._sql))
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

    def first_lost(self, end: Awaitable[None]) -> None:
        """This one has answered, and the first is still under way, in nobody's task."""
        self._handed_over = True
        self._hedging.take_back(self._first, end)

    def _abandon(self, pooled: Pooled[C]) -> None:
        pooled.severed = True
        self._hedging.runtime.spawn(pooled.pool.connector.abandon(pooled.raw), "abandon")

    async def end_first(self, error: Exception | None) -> None:
        """The first has lost, and the caller has left its statement. `error`: what it failed with by itself."""
        self._first.replayable = False
        self._hedging.knowledge.ask(self._returns.node_of(self._first).name)
        if error is not None:
            await self._returns.give_back(self._first, error)
        elif not self._handed_over:
            self._first.pool.discard(self._first)
