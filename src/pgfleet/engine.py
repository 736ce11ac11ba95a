"""What callers do with connections: transactions, and reads that can run again elsewhere.

Each procedure stands here once, for tasks and for threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from pgfleet.board import Board
from pgfleet.core.intent import ReadIntent
from pgfleet.core.statement import leaves_session_alone
from pgfleet.errors import ReadTimeout
from pgfleet.follow import Follower
from pgfleet.lender import CANDIDATE_SLICE_S, REFRESH_TIMEOUT_S, Lease, Lender
from pgfleet.members import Members
from pgfleet.pool import Pooled
from pgfleet.ports import Runtime, Watcher

C = TypeVar("C")
T = TypeVar("T")

START_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 2.0


@dataclass(slots=True)
class Transaction(Generic[C]):
    """A lease with a transaction of ours around it."""

    pooled: Pooled[C]
    handle: Any
    """What the connector needs to end the transaction; None: the driver's autocommit."""
    mark: int | None = None
    """The slot of the org that writes."""


class Engine(Lender[C]):
    """Uses connections, and gives them back whatever happens."""

    def __init__(
        self, board: Board[C], watcher: Watcher, runtime: Runtime, members: Members[C], follower: Follower
    ) -> None:
        super().__init__(board, watcher, runtime)
        self.members = members
        self._follower = follower

    # life

    async def start(self) -> None:
        """Learn which nodes there are, and begin to watch them. Returns when each was looked at, or after 2 s."""
        self._open = True
        deadline_s = self._clock() + START_TIMEOUT_S
        await self._follower.start(START_TIMEOUT_S)
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

    # transactions

    async def open_write(
        self, transaction: bool | None, timeout_s: float | None, org_id: Hashable
    ) -> Transaction[C]:
        """A connection of the primary; `transaction` None: as the driver does by itself.

        From now until it ends the org counts as writing. Raises LeaseTimeout, PrimaryUnavailable, RouterClosed.
        """
        mark = None if org_id is None else self.board.begin_write(org_id)
        try:
            pooled = await self.borrow_primary(self.lease_deadline_s(timeout_s))
            return await self._begin(pooled, transaction, mark)
        except BaseException:
            self._end_mark(mark)
            raise

    async def end_write(self, lease: Transaction[C], error: BaseException | None) -> None:
        """Commit, or roll back after an error; then take the connection back."""
        try:
            await self._end(lease, error, "write")
        finally:
            self._end_mark(lease.mark)

    async def open_read(self, intent: ReadIntent, timeout_s: float | None) -> Transaction[C]:
        """A read inside one REPEATABLE READ READ ONLY transaction."""
        pooled = self.take(intent) or await self.borrow(intent, self.lease_deadline_s(timeout_s))
        return Transaction(
            pooled, await self._guarded(pooled, pooled.pool.connector.begin(pooled.raw, read_only=True))
        )

    async def end_read(self, lease: Transaction[C], error: BaseException | None) -> None:
        """End the read's transaction, and take the connection back."""
        await self._end(lease, error, "read")

    async def _begin(self, pooled: Pooled[C], transaction: bool | None, mark: int | None) -> Transaction[C]:
        connector = pooled.pool.connector
        if transaction is None:
            transaction = connector.transactional
        if not transaction:
            return Transaction(pooled, None, mark)
        return Transaction(
            pooled, await self._guarded(pooled, connector.begin(pooled.raw, read_only=False)), mark
        )

    async def _guarded(self, pooled: Pooled[C], step: Awaitable[T]) -> T:
        """A step of ours on a connection that is lent: it fails with the connection."""
        try:
            return await step
        except BaseException as error:
            await self.give_back(pooled, error)
            raise

    async def _end(self, lease: Transaction[C], error: BaseException | None, kind: Lease) -> None:
        connector = lease.pooled.pool.connector
        if lease.handle is not None:
            try:
                await (connector.commit(lease.handle) if error is None else connector.rollback(lease.handle))
            except BaseException as failed:
                await self.give_back(lease.pooled, error or failed, kind)
                if error is None or not isinstance(failed, Exception):
                    raise
                return
        await self.give_back(lease.pooled, error, kind)

    def _end_mark(self, mark: int | None) -> None:
        if mark is not None:
            self.board.end_write(mark)

    # one statement, or one function, that can run again elsewhere

    async def fetch(
        self, sql: str, args: Sequence[Any], intent: ReadIntent, timeout_s: float | None
    ) -> list[Any]:
        """The rows of one read. It runs on another node when the one it was sent to fails."""
        pooled = self.take(intent) if timeout_s is None else None
        if pooled is None:
            return await self._attempts(
                partial(_fetch, sql, args), intent, timeout_s, leaves_session_alone(sql)
            )
        pooled.replayable = True
        pool = pooled.pool
        try:
            rows = await pool.connector.fetch(pooled.raw, sql, args)
        except BaseException as error:
            avoid = await self._after_failure(pooled, error)
        else:
            await self._done(pooled, leaves_session_alone(sql))
            return rows
        return await self._attempts(
            partial(_fetch, sql, args), intent, None, leaves_session_alone(sql), avoid
        )

    async def run_read(
        self, work: Callable[[C], Awaitable[T]], intent: ReadIntent, timeout_s: float | None
    ) -> T:
        """What `work(conn)` returns. It runs again on another node when the first fails under it."""

        async def run(pooled: Pooled[C]) -> T:
            return await work(pooled.raw)

        return await self._attempts(run, intent, timeout_s, False)

    async def execute(self, sql: str, args: Sequence[Any], timeout_s: float | None, org_id: Hashable) -> str:
        """One statement on the primary, never sent twice; the server's command tag."""
        lease = await self.open_write(None, timeout_s, org_id)
        try:
            tag = await lease.pooled.pool.connector.execute(lease.pooled.raw, sql, args)
        except BaseException as error:
            await self.end_write(lease, error)
            raise
        await self.end_write(lease, None)
        return tag

    async def _attempts(
        self,
        work: Callable[[Pooled[C]], Awaitable[T]],
        intent: ReadIntent,
        timeout_s: float | None,
        clean: bool,
        avoid: frozenset[str] = frozenset(),
    ) -> T:
        """Run `work` on one node after another until one does not fail. Each node is tried once."""
        deadline_s = None if timeout_s is None else self._clock() + timeout_s
        while True:
            pooled = await self.borrow(intent, self.lease_deadline_s(timeout_s, deadline_s), avoid)
            pooled.replayable = True
            try:
                result = await self._in_time(work(pooled), pooled, deadline_s)
            except BaseException as error:
                avoid |= await self._after_failure(pooled, error, timeout_s)
            else:
                await self._done(pooled, clean)
                return result

    async def _after_failure(
        self, pooled: Pooled[C], error: BaseException, timeout_s: float | None = None
    ) -> frozenset[str]:
        """Take the connection back. Returns the node to avoid when the read may run elsewhere; else raises `error`."""
        pooled.replayable = False
        consequence = await self.give_back(pooled, error)
        if pooled.timed_out and isinstance(error, Exception):
            raise ReadTimeout(
                f"the read did not finish within {timeout_s} s on {self.node_of(pooled).name}",
                "Give it a longer timeout_s, or find out why it is slow there (pg_stat_activity).",
            ) from None
        if not consequence.retry_elsewhere:
            raise error
        return frozenset((self.node_of(pooled).name,))

    async def _done(self, pooled: Pooled[C], clean: bool) -> None:
        pooled.replayable = False
        if clean:
            pooled.pool.give(pooled)
        else:
            await self.give_back(pooled)

    async def _in_time(self, work: Awaitable[T], pooled: Pooled[C], deadline_s: float | None) -> T:
        """Sever the connection when the caller's time is over: a cancel request could hang on a dead path."""
        if deadline_s is None:
            return await work

        def cut() -> None:
            pooled.timed_out = True
            pooled.pool.sever(pooled)

        timer = self._runtime.call_later(max(0.0, deadline_s - self._clock()), cut)
        try:
            return await work
        finally:
            timer.cancel()

    # for those who watch

    async def refresh(self, older_than_s: float) -> None:
        """Have every node whose last observation is older than this looked at now; wait at most half a second."""
        since_s = self._clock() - older_than_s
        nodes = self.board.topology.nodes
        old = [n.name for n in nodes if n.observation is None or n.observation.answered_s < since_s]
        if old:
            await self._watcher.refresh(tuple(old), REFRESH_TIMEOUT_S)

    async def fetch_from(self, name: str, sql: str) -> list[Any]:
        """The rows of a statement on this very node, for monitoring. Raises what the driver raises, and KeyError."""
        self._check_open()
        pool = self.board.nodes[name].reads
        pooled = await pool.acquire(self._clock() + CANDIDATE_SLICE_S)
        try:
            rows = await pool.connector.fetch(pooled.raw, sql, ())
        except BaseException as error:
            await self.give_back(pooled, error)
            raise
        await self.give_back(pooled)
        return rows


async def _fetch(sql: str, args: Sequence[Any], pooled: Pooled[Any]) -> list[Any]:
    rows: list[Any] = await pooled.pool.connector.fetch(pooled.raw, sql, args)
    return rows
