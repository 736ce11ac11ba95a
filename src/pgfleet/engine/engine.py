"""What callers do with connections: transactions and, here, reads that can run again elsewhere.

Each procedure stands here once, for tasks and for threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from pgfleet.board import Board
from pgfleet.core.attempts import NOWHERE, Tried
from pgfleet.core.intent import ReadIntent
from pgfleet.core.statement import leaves_session_alone
from pgfleet.engine.hedging import Elsewhere, Hedging
from pgfleet.engine.lender import REFRESH_TIMEOUT_S
from pgfleet.engine.retries import Retries
from pgfleet.engine.transactions import Transactions
from pgfleet.errors import ReadTimeout
from pgfleet.follow import Follower
from pgfleet.members import Members
from pgfleet.pool import Pooled
from pgfleet.ports import Runtime, Watcher

C = TypeVar("C")
T = TypeVar("T")

START_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 2.0
ASK_TIMEOUT_S = 2.0
"""The longest that a statement of the monitoring may take."""


class Engine(Transactions[C]):
    """Uses connections, and gives them back whatever happens."""

    def __init__(
        self, board: Board[C], watcher: Watcher, runtime: Runtime, members: Members[C], follower: Follower
    ) -> None:
        super().__init__(board, watcher, runtime)
        self.members = members
        self._follower = follower
        self._retries = Retries(board, watcher, runtime)
        self._hedging = Hedging(self, runtime)

    # life

    async def start(self) -> None:
        """Learn which nodes there are, and begin to watch them. Returns when each was looked at, or after 2 s."""
        self._open = True
        deadline_s = self._clock() + START_TIMEOUT_S
        await self._follower.start(START_TIMEOUT_S / 2)
        await self._watcher.start(max(0.0, deadline_s - self._clock()))

    async def stop(self) -> None:
        """End the watches and the idle connections. Leases that are out end when they come back."""
        self._open = False
        self._follower.stop()
        self.members.stop()
        self._watcher.stop()
        for node in self.board.nodes.values():
            for pool in node.pools:
                await pool.close()
        await self._runtime.close(STOP_TIMEOUT_S)

    # one statement, or one function, that can run again elsewhere

    async def fetch(
        self,
        sql: str,
        args: Sequence[Any],
        intent: ReadIntent,
        timeout_s: float | None,
        hedge: bool | None = False,
    ) -> list[Any]:
        """The rows of one read. It runs on another node when the one it was sent to fails; `hedge`: or is late."""
        clean = leaves_session_alone(sql)
        take = self._hedging.take if hedge else self.take
        pooled = take(intent) if timeout_s is None or hedge else None
        if pooled is None or timeout_s is not None:
            work = self._fetch(sql, args, intent, hedge)
            return await self._attempts(work, intent, timeout_s, clean, first=pooled)
        pooled.replayable = True
        try:
            if hedge:
                rows = await self._hedging.fetch(sql, args, intent, pooled)
                if isinstance(rows, Elsewhere):
                    answer: list[Any] = rows.rows
                    return answer
            else:
                rows = await pooled.pool.connector.fetch(pooled.raw, sql, args)
                pooled.pool.answers.add(self._clock() - pooled.lent_s)
        except BaseException as error:
            tried = await self._after_failure(pooled, error, NOWHERE)
        else:
            await self.done(pooled, clean)
            return rows
        return await self._attempts(self._fetch(sql, args, intent, hedge), intent, None, clean, tried)

    def _fetch(
        self, sql: str, args: Sequence[Any], intent: ReadIntent, hedge: bool | None
    ) -> Callable[[Pooled[C]], Awaitable[Any]]:
        if hedge:
            return partial(self._hedging.fetch, sql, args, intent)
        return partial(self._send, sql, args)

    async def _send(self, sql: str, args: Sequence[Any], pooled: Pooled[C]) -> list[Any]:
        rows = await pooled.pool.connector.fetch(pooled.raw, sql, args)
        pooled.pool.answers.add(self._clock() - pooled.lent_s)
        return rows

    async def run_read(
        self, work: Callable[[C], Awaitable[T]], intent: ReadIntent, timeout_s: float | None
    ) -> T:
        """What `work(conn)` returns. It runs again on another node when the first fails under it."""

        async def run(pooled: Pooled[C]) -> T:
            return await work(pooled.raw)

        return await self._attempts(run, intent, timeout_s, False)

    async def _attempts(
        self,
        work: Callable[[Pooled[C]], Awaitable[T]],
        intent: ReadIntent,
        timeout_s: float | None,
        clean: bool,
        tried: Tried = NOWHERE,
        first: Pooled[C] | None = None,
    ) -> T:
        """Run `work` on one node after another until one does not fail. Each node is tried once."""
        deadline_s = None if timeout_s is None else self._clock() + timeout_s
        while True:
            lease_s = self.lease_deadline_s(timeout_s, deadline_s)
            pooled, first = first or await self.borrow(intent, lease_s, tried.nodes), None
            pooled.replayable = True
            try:
                result = await self._in_time(work(pooled), pooled, deadline_s)
            except BaseException as error:
                tried = await self._after_failure(pooled, error, tried, timeout_s)
            else:
                if isinstance(result, Elsewhere):
                    rows: T = result.rows
                    return rows
                await self.done(pooled, clean)
                return result

    async def _after_failure(
        self, pooled: Pooled[C], error: BaseException, tried: Tried, timeout_s: float | None = None
    ) -> Tried:
        """Take the connection back. Returns where it was tried when the read may run elsewhere; else raises `error`."""
        pooled.replayable = False
        consequence = await self.give_back(pooled, error)
        if pooled.timed_out and isinstance(error, Exception):
            raise self._late(pooled, timeout_s) from None
        if not consequence.retry_elsewhere:
            raise error
        lost = consequence.drop_connection and not pooled.severed
        tried = tried.after(self.node_of(pooled).name, lost)
        if refusal := await self._retries.refusal(tried):
            error.add_note(f"pgfleet: this read was not sent once more: {refusal}")
            raise error
        return tried

    def _late(self, pooled: Pooled[C], timeout_s: float | None) -> ReadTimeout:
        return ReadTimeout(
            f"the read did not finish within {timeout_s} s on {self.node_of(pooled).name}",
            "Give it a longer timeout_s, or find out why it is slow there (pg_stat_activity).",
        )

    # for those who watch

    async def refresh(self, older_than_s: float) -> None:
        """Have every node whose last observation is older than this looked at now; wait at most half a second."""
        since_s = self._clock() - older_than_s
        nodes = self.board.topology.nodes
        old = [n.name for n in nodes if n.observation is None or n.observation.answered_s < since_s]
        if old:
            await self._watcher.refresh(tuple(old), REFRESH_TIMEOUT_S)

    async def fetch_from(self, name: str, sql: str, timeout_s: float = ASK_TIMEOUT_S) -> list[Any]:
        """The rows of a statement on this very node, for monitoring.

        Raises ReadTimeout after `timeout_s`, what the driver raises, and KeyError.
        """
        self._check_open()
        pool, deadline_s = self.board.nodes[name].reads, self._clock() + timeout_s
        pooled = await pool.acquire(deadline_s)
        try:
            rows = await self._in_time(pool.connector.fetch(pooled.raw, sql, ()), pooled, deadline_s)
        except BaseException as error:
            await self.give_back(pooled, error)
            if pooled.timed_out and isinstance(error, Exception):
                raise self._late(pooled, timeout_s) from None
            raise
        await self.give_back(pooled)
        return rows
