"""Leases with a transaction around them, and what the caller is told when one ends otherwise than it should."""

from __future__ import annotations

from collections.abc import Awaitable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pgfleet.core.intent import ReadIntent
from pgfleet.core.outcome import Moment, Outcome, outcome
from pgfleet.engine.lender import REFRESH_TIMEOUT_S
from pgfleet.engine.writer import Writer
from pgfleet.errors import LeaseTimeout, OutcomeUnknown, PgfleetError, PrimaryUnavailable
from pgfleet.faults import first_line
from pgfleet.pool import Pooled

C = TypeVar("C")
T = TypeVar("T")

TRY_AGAIN = (
    "It is safe to try again: the next attempt waits for the primary. (In autocommit this is so of the "
    "statement that failed; what the block did before it is committed.)"
)
FIND_OUT = (
    "Read from the primary before you try again: look for the row by a key of its own, or ask "
    "pg_xact_status() of the pg_current_xact_id() that you noted. With a unique key and ON CONFLICT DO "
    "NOTHING it is safe to send again at once."
)


@dataclass(slots=True)
class Transaction(Generic[C]):
    """A lease with a transaction of ours around it."""

    pooled: Pooled[C]
    handle: Any
    """What the connector needs to end the transaction; None: the driver's autocommit."""
    mark: int | None = None
    """The slot of the org that writes."""

    @property
    def moment(self) -> Moment:
        """How far a write has come while its block runs."""
        if self.handle is None or self.pooled.pool.connector.may_have_committed(self.handle):
            return Moment.AUTOCOMMIT
        return Moment.TRANSACTION


class Transactions(Writer[C]):
    """Opens and ends transactions, and gives their connections back whatever happens."""

    # writes

    async def open_write(
        self, transaction: bool | None, timeout_s: float | None, org_id: Hashable
    ) -> Transaction[C]:
        """A connection of the primary; `transaction` None: as the driver does by itself.

        From now until it ends the org counts as writing. Raises LeaseTimeout, PrimaryUnavailable, SplitBrain,
        RouterClosed.
        """
        mark = None if org_id is None else self.board.begin_write(org_id)
        deadline_s = self.lease_deadline_s(timeout_s)
        try:
            while True:
                pooled = await self.borrow_primary(deadline_s)
                if lease := await self._begin(pooled, transaction, mark, deadline_s):
                    return lease
        except BaseException:
            self._end_mark(mark)
            raise

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

    async def end_write(self, lease: Transaction[C], error: BaseException | None) -> None:
        """Commit, or roll back after an error; then take the connection back.

        Raises PrimaryUnavailable when the write is surely not done, OutcomeUnknown when nobody can tell; an error of
        the caller's SQL, or of the caller, is left as it is.
        """
        try:
            if error is None:
                await self._commit(lease)
            else:
                await self._fail(lease, error)
        finally:
            self._end_mark(lease.mark)

    async def _begin(
        self, pooled: Pooled[C], transaction: bool | None, mark: int | None, deadline_s: float
    ) -> Transaction[C] | None:
        """None: the connection was lost before anything of the caller's was sent."""
        connector = pooled.pool.connector
        if transaction is None:
            transaction = connector.transactional
        if not transaction:
            return await self._autocommit(pooled, mark)
        try:
            begin = connector.begin(pooled.raw, read_only=False)
            return Transaction(pooled, await self._in_time(begin, pooled, deadline_s), mark)
        except BaseException as error:
            consequence = await self.give_back(pooled, error, "write")
            if pooled.timed_out and isinstance(error, Exception):
                raise self._not_begun(pooled) from None
            if consequence.retry_elsewhere:
                return None
            raise

    async def _autocommit(self, pooled: Pooled[C], mark: int | None) -> Transaction[C] | None:
        """Of a statement that is lost on the wire nobody can tell what became of it: so none is sent in vain."""
        if await self._is_gone(pooled):
            pooled.pool.discard(pooled)
            return None
        return Transaction(pooled, None, mark)

    async def _is_gone(self, pooled: Pooled[C]) -> bool:
        """Whether the connection is lost, by all that has arrived until now."""
        await self._guarded(pooled, self._runtime.signal().wait(0.0))
        return pooled.pool.connector.is_gone(pooled.raw)

    async def _commit(self, lease: Transaction[C]) -> None:
        pooled, connector = lease.pooled, lease.pooled.pool.connector
        if lease.handle is None:
            await self.give_back(pooled, None, "write")
            return
        moment = lease.moment
        if await self._is_gone(pooled):
            pooled.pool.discard(pooled)
            became = outcome(moment, lost=True, refused=False)
            raise self._told(pooled, became, "the connection was lost before COMMIT was sent")
        try:
            await connector.commit(lease.handle)
        except BaseException as error:
            await self._explain(lease, error, Moment.COMMIT)
            raise
        await self.give_back(pooled, None, "write")

    async def _fail(self, lease: Transaction[C], error: BaseException) -> None:
        moment = lease.moment
        try:
            await self._roll_back(lease, error)
        except BaseException as cancelled:
            await self.give_back(lease.pooled, cancelled, "write")
            raise
        await self._explain(lease, error, moment)

    # what became of a write

    async def _explain(self, lease: Transaction[C], error: BaseException, moment: Moment) -> None:
        """Take the connection back. Raises what became of the write, unless `error` says it already."""
        pooled = lease.pooled
        lost = pooled.pool.connector.lost_with(pooled.raw, error)
        consequence = await self.give_back(pooled, error, "write")
        refused = not lost and consequence.never_executed and await self._is_no_primary(pooled)
        became = outcome(moment, lost=lost, refused=refused)
        if became is not Outcome.FAILED:
            raise self._told(pooled, became, first_line(error)) from error

    async def _is_no_primary(self, pooled: Pooled[C]) -> bool:
        """Whether a server that refused to write is a standby; a primary does so in the caller's read-only session."""
        name = self.node_of(pooled).name
        await self._watcher.refresh((name,), REFRESH_TIMEOUT_S)
        return self.board.topology.writer_name != name

    def _told(self, pooled: Pooled[C], became: Outcome, why: str) -> PgfleetError:
        name = self.node_of(pooled).name
        if became is Outcome.UNKNOWN:
            return OutcomeUnknown(f"the write on {name} was committed or not: {why}", FIND_OUT)
        return PrimaryUnavailable(f"the write on {name} is surely not committed: {why}", TRY_AGAIN)

    # reads

    async def open_read(self, intent: ReadIntent, timeout_s: float | None) -> Transaction[C]:
        """A read inside one REPEATABLE READ READ ONLY transaction."""
        deadline_s = self.lease_deadline_s(timeout_s)
        pooled = self.take(intent) or await self.borrow(intent, deadline_s)
        begin = pooled.pool.connector.begin(pooled.raw, read_only=True)
        try:
            handle = await self._guarded(pooled, self._in_time(begin, pooled, deadline_s))
        except Exception:
            if pooled.timed_out:
                raise self._not_begun(pooled) from None
            raise
        return Transaction(pooled, handle)

    def _not_begun(self, pooled: Pooled[C]) -> LeaseTimeout:
        """BEGIN is part of the lease, and has no more time than that."""
        return LeaseTimeout(
            f"{self.node_of(pooled).name} did not begin a transaction in time",
            "Nothing was sent but BEGIN: it is safe to try again. The server may hang (`pgfleet status`).",
        )

    async def end_read(self, lease: Transaction[C], error: BaseException | None) -> None:
        """End the read's transaction, and take the connection back."""
        if error is None:
            await self._guarded(lease.pooled, lease.pooled.pool.connector.commit(lease.handle))
            await self.give_back(lease.pooled)
            return
        try:
            await self._roll_back(lease, error)
        finally:
            await self.give_back(lease.pooled, error)

    async def _guarded(self, pooled: Pooled[C], step: Awaitable[T]) -> T:
        """A step of ours on a connection that is lent: it fails with the connection."""
        try:
            return await step
        except BaseException as error:
            await self.give_back(pooled, error)
            raise

    async def _roll_back(self, lease: Transaction[C], error: BaseException) -> None:
        """Roll back, unless the driver commits by itself. Raises only what is no error, as a cancellation.

        After a cancellation the connection ends, and with it the transaction: nobody waits for a last word.
        """
        if lease.handle is not None and isinstance(error, Exception):
            with suppress(Exception):
                await lease.pooled.pool.connector.rollback(lease.handle)

    async def _in_time(self, work: Awaitable[T], pooled: Pooled[C], deadline_s: float | None) -> T:
        """Sever the connection when the caller's time is over: a cancel request could hang on a dead path."""
        if deadline_s is None:
            return await work

        def cut() -> None:
            for attempt in (pooled, pooled.twin):
                if attempt:
                    attempt.timed_out = True
                    attempt.pool.sever(attempt)

        timer = self._runtime.call_later(max(0.0, deadline_s - self._clock()), cut)
        try:
            return await work
        finally:
            timer.cancel()

    def _end_mark(self, mark: int | None) -> None:
        if mark is not None:
            self.board.end_write(mark)
