"""Leases with a transaction around them."""

from __future__ import annotations

from collections.abc import Awaitable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pgfleet.board import Board, Session, Write
from pgfleet.core.intent import ReadIntent
from pgfleet.core.outcome import Moment
from pgfleet.engine.deadline import in_time, not_begun
from pgfleet.engine.lender import Lender
from pgfleet.engine.outcomes import Outcomes
from pgfleet.engine.returns import Returns
from pgfleet.engine.terms import Terms
from pgfleet.engine.writer import Writer
from pgfleet.pool import Pooled
from pgfleet.ports import Runtime

C = TypeVar("C")
T = TypeVar("T")


@dataclass(slots=True)
class Transaction(Generic[C]):
    """A lease with a transaction of ours around it."""

    pooled: Pooled[C]
    handle: Any
    """What the connector needs to end the transaction; None: the driver's autocommit."""
    write: Write | None = None
    """What is known of it to those who read; None: it is a read."""

    @property
    def moment(self) -> Moment:
        """How far a write has come while its block runs."""
        if self.handle is None or self.pooled.pool.connector.may_have_committed(self.handle):
            return Moment.AUTOCOMMIT
        return Moment.TRANSACTION


class Transactions(Generic[C]):
    """Opens and ends transactions, and gives their connections back whatever happens."""

    def __init__(
        self,
        board: Board[C],
        lender: Lender[C],
        writer: Writer[C],
        returns: Returns[C],
        outcomes: Outcomes[C],
        terms: Terms,
        runtime: Runtime,
    ) -> None:
        self._board = board
        self._lender = lender
        self._writer = writer
        self._returns = returns
        self._outcomes = outcomes
        self._terms = terms
        self._runtime = runtime

    # writes

    async def open_write(
        self,
        transaction: bool | None,
        timeout_s: float | None,
        org_id: Hashable,
        session: Session | None = None,
    ) -> Transaction[C]:
        """A connection of the primary; `transaction` None: as the driver does by itself.

        From now until it ends the org and the session count as writing. Raises LeaseTimeout, PrimaryUnavailable,
        SplitBrain, RouterClosed.
        """
        deadline_s = self._terms.lease_deadline_s(timeout_s)
        write = self._board.writes.begin(org_id, session)
        try:
            while True:
                pooled = await self._writer.borrow_primary(deadline_s)
                if lease := await self._begin(pooled, transaction, write, deadline_s):
                    return lease
        except BaseException:
            self._board.writes.end(write)
            raise

    async def execute(
        self,
        sql: str,
        args: Sequence[Any],
        timeout_s: float | None,
        org_id: Hashable,
        session: Session | None = None,
    ) -> str:
        """One statement on the primary, never sent twice; the server's command tag."""
        lease = await self.open_write(None, timeout_s, org_id, session)
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
        acknowledged = False
        try:
            if error is None:
                await self._commit(lease)
                acknowledged = True
            else:
                await self._fail(lease, error)
        finally:
            assert lease.write
            self._board.end_write(lease.write, self._returns.node_of(lease.pooled), acknowledged)

    async def _begin(
        self, pooled: Pooled[C], transaction: bool | None, write: Write, deadline_s: float
    ) -> Transaction[C] | None:
        """None: the connection was lost before anything of the caller's was sent."""
        connector = pooled.pool.connector
        if transaction is None:
            transaction = connector.transactional
        if not transaction:
            return await self._autocommit(pooled, write)
        try:
            begin = connector.begin(pooled.raw, read_only=False)
            return Transaction(pooled, await in_time(begin, pooled, deadline_s, self._runtime), write)
        except BaseException as error:
            consequence = await self._returns.give_back(pooled, error, "write")
            if pooled.timed_out and isinstance(error, Exception):
                raise not_begun(pooled.pool.owner.name) from None
            if consequence.retry_elsewhere:
                return None
            raise

    async def _autocommit(self, pooled: Pooled[C], write: Write) -> Transaction[C] | None:
        """Of a statement that is lost on the wire nobody can tell what became of it: so none is sent in vain."""
        if await self._is_gone(pooled):
            pooled.pool.discard(pooled)
            return None
        return Transaction(pooled, None, write)

    async def _is_gone(self, pooled: Pooled[C]) -> bool:
        """Whether the connection is lost, by all that has arrived until now."""
        await self._guarded(pooled, self._runtime.signal().wait(0.0))
        return pooled.pool.connector.is_gone(pooled.raw)

    async def _commit(self, lease: Transaction[C]) -> None:
        pooled, connector = lease.pooled, lease.pooled.pool.connector
        if lease.handle is None:
            await self._returns.give_back(pooled, None, "write")
            return
        moment = lease.moment
        if await self._is_gone(pooled):
            pooled.pool.discard(pooled)
            raise self._outcomes.lost_before_commit(pooled, moment)
        try:
            await connector.commit(lease.handle)
        except BaseException as error:
            await self._outcomes.explain(pooled, error, Moment.COMMIT)
            raise
        await self._returns.give_back(pooled, None, "write")

    async def _fail(self, lease: Transaction[C], error: BaseException) -> None:
        moment = lease.moment
        try:
            await self._roll_back(lease, error)
        except BaseException as cancelled:
            await self._returns.give_back(lease.pooled, cancelled, "write")
            raise
        await self._outcomes.explain(lease.pooled, error, moment)

    # reads

    async def open_read(self, intent: ReadIntent, timeout_s: float | None) -> Transaction[C]:
        """A read inside one REPEATABLE READ READ ONLY transaction."""
        deadline_s = self._terms.lease_deadline_s(timeout_s)
        pooled = self._lender.take(intent) or await self._lender.borrow(intent, deadline_s)
        begin = pooled.pool.connector.begin(pooled.raw, read_only=True)
        try:
            handle = await self._guarded(pooled, in_time(begin, pooled, deadline_s, self._runtime))
        except Exception:
            if pooled.timed_out:
                raise not_begun(pooled.pool.owner.name) from None
            raise
        return Transaction(pooled, handle)

    async def end_read(self, lease: Transaction[C], error: BaseException | None) -> None:
        """End the read's transaction, and take the connection back."""
        if error is None:
            await self._guarded(lease.pooled, lease.pooled.pool.connector.commit(lease.handle))
            await self._returns.give_back(lease.pooled)
            return
        try:
            await self._roll_back(lease, error)
        finally:
            await self._returns.give_back(lease.pooled, error)

    async def _guarded(self, pooled: Pooled[C], step: Awaitable[T]) -> T:
        """A step of ours on a connection that is lent: it fails with the connection."""
        try:
            return await step
        except BaseException as error:
            await self._returns.give_back(pooled, error)
            raise

    async def _roll_back(self, lease: Transaction[C], error: BaseException) -> None:
        """Roll back, unless the driver commits by itself. Raises only what is no error, as a cancellation.

        After a cancellation the connection ends, and with it the transaction: nobody waits for a last word.
        """
        if lease.handle is not None and isinstance(error, Exception):
            with suppress(Exception):
                await lease.pooled.pool.connector.rollback(lease.handle)
