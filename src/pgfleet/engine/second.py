"""The second attempt at one read, and which of the two loses."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pgfleet.board import Node
from pgfleet.core.intent import ReadIntent
from pgfleet.core.statement import leaves_session_alone
from pgfleet.pool import Pooled

if TYPE_CHECKING:
    from pgfleet.engine.hedging import Hedging

C = TypeVar("C")

PATIENCE_S = 0.1
"""The longest that a second attempt waits for its connection."""


class NoSecond(Exception):
    """There is no second attempt after all: no connection for it, or the read has ended meanwhile."""


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
                    pooled.tell_unseen()
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
            # Before the question: whoever ends the caller's time says so first, and looks here then.
            self._first.twin = self._pooled = pooled
            if self._lost or self._first.timed_out:
                self._first.twin = self._pooled = None
                pooled.tell_unseen()
                pooled.pool.give(pooled)
                raise NoSecond
            pooled.replayable = True

    def _let_go(self) -> bool:
        """The statement has ended. Whether it was cut, so that the connection ends too."""
        with self._lock:
            pooled, self._pooled, self._first.twin = self._pooled, None, None
            assert pooled
            pooled.replayable = False
            if self._lost:
                pooled.tell_unseen()
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

    def end_first(self, error: Exception | None) -> None:
        """The first has lost, and the caller has left its statement. `error`: what it failed with by itself."""
        self._first.replayable = False
        self._first.tell_unseen()
        self._hedging.knowledge.ask(self._returns.node_of(self._first).name)
        if error is not None:
            self._hedging.give_back(self._first, error)
        elif not self._handed_over:
            self._first.pool.discard(self._first)
