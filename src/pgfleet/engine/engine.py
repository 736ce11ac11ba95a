"""What the two faces stand on: it puts together what lends and uses connections, and has a beginning and an end.

Each procedure of this house stands once, for tasks and for threads.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pgfleet.board import Board
from pgfleet.engine.attempts import Attempts
from pgfleet.engine.deadline import in_time, late
from pgfleet.engine.hedging import Hedging
from pgfleet.engine.knowledge import Knowledge
from pgfleet.engine.lender import Lender
from pgfleet.engine.outcomes import Outcomes
from pgfleet.engine.retries import Retries
from pgfleet.engine.returns import Returns
from pgfleet.engine.samples import Samples
from pgfleet.engine.terms import Terms
from pgfleet.engine.tokens import Tokens
from pgfleet.engine.transactions import Transactions
from pgfleet.engine.wishes import Wishes
from pgfleet.engine.writer import Writer
from pgfleet.members import Follower, Members
from pgfleet.ports import Runtime, Watcher

C = TypeVar("C")

START_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 2.0
ASK_TIMEOUT_S = 2.0
"""The longest that a statement of the monitoring may take."""


class Engine(Generic[C]):
    """All that a face can do with connections."""

    def __init__(
        self, board: Board[C], watcher: Watcher, runtime: Runtime, members: Members[C], follower: Follower
    ) -> None:
        self.board = board
        self.members = members
        self._watcher = watcher
        self._runtime = runtime
        self._follower = follower
        self._clock = runtime.clock
        self._terms = terms = Terms(board.settings.connection_timeout_s, runtime.clock)
        samples = Samples(board, watcher, runtime)
        self._knowledge = knowledge = Knowledge(board, watcher, samples, runtime)
        self.tokens = Tokens(board, samples, runtime)
        self.wishes = Wishes(board, self.tokens, runtime)
        self.questions = Wishes(board, self.tokens, runtime, tells=False)
        """What is only asked about."""
        returns = Returns(board, knowledge, runtime)
        lender = Lender(board, self.wishes, knowledge, returns, terms, runtime)
        self._retries = Retries(board, watcher, runtime)
        self._hedging = Hedging(lender, returns, knowledge, runtime)
        attempts = Attempts(lender, returns, self._retries, self._hedging, terms, runtime)
        writer = Writer(board, knowledge, returns, terms, runtime)
        outcomes = Outcomes(board, knowledge, returns)
        self._transactions = Transactions(board, lender, writer, returns, outcomes, terms, runtime)
        # Bound here, so that the hot path passes through nothing.
        self.take, self.borrow, self.give_back = lender.take, lender.borrow, returns.give_back
        self.lease_deadline_s = terms.lease_deadline_s
        self.fetch, self.run_read = attempts.fetch, attempts.run_read
        self.open_read, self.end_read = self._transactions.open_read, self._transactions.end_read
        self.open_write, self.end_write = self._transactions.open_write, self._transactions.end_write
        self.execute = self._transactions.execute

    # life

    async def start(self) -> None:
        """Learn which nodes there are, and begin to watch them. Returns when each was looked at, or after 2 s."""
        self._terms.is_open = True
        deadline_s = self._clock() + START_TIMEOUT_S
        await self._follower.start(START_TIMEOUT_S / 2)
        await self._watcher.start(max(0.0, deadline_s - self._clock()))

    async def stop(self) -> None:
        """End the watches and the idle connections. Leases that are out end when they come back."""
        self._terms.is_open = False
        self._follower.stop()
        self.members.stop()
        self._watcher.stop()
        for node in self.board.nodes.values():
            for pool in node.pools:
                await pool.close()
        await self._runtime.close(STOP_TIMEOUT_S)

    # for those who watch

    async def refresh(self, older_than_s: float) -> None:
        """Have every node whose last observation is older than this looked at now; wait at most half a second."""
        since_s = self._clock() - older_than_s
        nodes = self.board.topology.nodes
        old = [n.name for n in nodes if n.observation is None or n.observation.answered_s < since_s]
        if old:
            await self._knowledge.refresh(old)

    async def fetch_from(self, name: str, sql: str, timeout_s: float = ASK_TIMEOUT_S) -> list[Any]:
        """The rows of a statement on this very node, for monitoring.

        Raises ReadTimeout after `timeout_s`, what the driver raises, and KeyError.
        """
        self._terms.check_open()
        pool, deadline_s = self.board.nodes[name].reads, self._clock() + timeout_s
        pooled = await pool.acquire(deadline_s)
        try:
            rows = await in_time(pool.connector.fetch(pooled.raw, sql, ()), pooled, deadline_s, self._runtime)
        except BaseException as error:
            await self.give_back(pooled, error)
            if pooled.timed_out and isinstance(error, Exception):
                raise late(name, timeout_s) from None
            raise
        await self.give_back(pooled)
        return rows
