"""Lends connections of the primary to write with, and waits for a primary while there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from pgfleet.board import Board, Node
from pgfleet.core.failure import Phase
from pgfleet.engine.knowledge import Knowledge
from pgfleet.engine.lender import BUSY_PAUSE_S
from pgfleet.engine.refusals import no_connection, nobody_to_write_to
from pgfleet.engine.returns import Returns
from pgfleet.engine.terms import Terms
from pgfleet.errors import PgfleetError
from pgfleet.faults import NotPrimary, first_line
from pgfleet.pool import PoolClosed, Pooled, PoolTimeout
from pgfleet.ports import Runtime

C = TypeVar("C")

CONNECT_SLICE_S = 5.0
"""The longest that the primary may take to connect: it may be gone without a word, and another promoted meanwhile."""


@dataclass(slots=True)
class _Wait:
    """One caller's wait for a connection to write with."""

    began_s: float
    deadline_s: float
    tried: str | None = None
    """The node that was asked last."""
    in_line: bool = False
    """It had no connection free: nothing else is wrong with it."""
    error: Exception | None = None
    """What it said, when it lent nothing."""


class Writer(Generic[C]):
    """Lends connections of whichever node is the primary now."""

    def __init__(
        self, board: Board[C], knowledge: Knowledge, returns: Returns[C], terms: Terms, runtime: Runtime
    ) -> None:
        self.board = board
        self._knowledge = knowledge
        self._returns = returns
        self._terms = terms
        self._runtime = runtime
        self._clock = runtime.clock

    async def borrow_primary(self, deadline_s: float) -> Pooled[C]:
        """A connection of the primary. While there is none, or it refuses, waits for the next one.

        Raises LeaseTimeout, PrimaryUnavailable, SplitBrain, RouterClosed.
        """
        wait = _Wait(self._clock(), deadline_s)
        while True:
            self._terms.check_open()
            node = self.board.nodes.get(self.board.topology.writer_name or "")
            if node and (pooled := await self._try_writer(node, wait)):
                return pooled
            await self._pause(wait)

    async def _try_writer(self, node: Node[C], wait: _Wait) -> Pooled[C] | None:
        """A connection of this node, if it still is the primary when we have it."""
        wait.tried, wait.in_line, wait.error = node.name, False, None
        try:
            pooled = await node.writes.acquire(wait.deadline_s, CONNECT_SLICE_S)
        except PoolClosed:
            self._terms.check_open()  # else the node was removed meanwhile: another turn finds who takes writes now
            return None
        except PoolTimeout:
            wait.in_line = self.board.topology.writer_name == node.name
            return None
        except Exception as error:
            self._refused(node, error, wait)
            return None
        if self.board.topology.writer_name != node.name:
            node.writes.give(pooled)
            return None
        node.writes.leases += 1
        return pooled

    def _refused(self, node: Node[C], error: Exception, wait: _Wait) -> None:
        """Note why it lent nothing. What is no word of a server or the network is passed on."""
        wait.error = error
        if isinstance(error, NotPrimary):
            self._knowledge.search()
        elif isinstance(error, TimeoutError) and self._clock() >= wait.deadline_s:
            self._knowledge.ask(node.name)  # the caller's patience was short; a probe will tell
        elif self._returns.met(node, error, Phase.CONNECT, "write") is None:
            raise error

    async def _pause(self, wait: _Wait) -> None:
        """Until it makes sense to try again. Raises what is to be told when the time is over."""
        writer, left_s = self.board.topology.writer_name, wait.deadline_s - self._clock()
        if left_s <= 0 or (writer is None and not await self._knowledge.await_writer(wait.deadline_s)):
            raise self._gave_up(wait) from wait.error
        if writer is not None and writer == wait.tried and not wait.in_line:
            await self._runtime.signal().wait(min(left_s, BUSY_PAUSE_S))

    def _gave_up(self, wait: _Wait) -> PgfleetError:
        if wait.in_line:
            return no_connection(self.board)
        return nobody_to_write_to(self.board, self._clock() - wait.began_s, self._refusal(wait))

    def _refusal(self, wait: _Wait) -> list[str]:
        """What a node said that is a primary, as far as is known, and lent nothing all the same."""
        is_told = wait.tried != self.board.topology.writer_name
        return [] if is_told or wait.error is None else [f"{wait.tried} said: {first_line(wait.error)}"]
