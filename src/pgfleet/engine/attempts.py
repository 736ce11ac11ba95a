"""Reads that can run again elsewhere: one statement, or one function, on one node after another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

from pgfleet.core.attempts import NOWHERE, Tried
from pgfleet.core.intent import ReadIntent
from pgfleet.core.statement import leaves_session_alone
from pgfleet.engine.deadline import in_time, late
from pgfleet.engine.hedging import Elsewhere, Hedging
from pgfleet.engine.lender import Lender
from pgfleet.engine.retries import Retries
from pgfleet.engine.returns import Returns
from pgfleet.engine.terms import Terms
from pgfleet.errors import PrimaryUnavailable
from pgfleet.pool import Pooled
from pgfleet.ports import Runtime

C = TypeVar("C")
T = TypeVar("T")


class Attempts(Generic[C]):
    """Sends reads, once more when one fails and the retries allow it, and twice at a time when they are hedged."""

    def __init__(
        self,
        lender: Lender[C],
        returns: Returns[C],
        retries: Retries,
        hedging: Hedging[C],
        terms: Terms,
        runtime: Runtime,
    ) -> None:
        self._take = lender.take
        self._borrow = lender.borrow
        self._returns = returns
        self._done = returns.done
        self._retries = retries
        self._hedging = hedging
        self._terms = terms
        self._runtime = runtime
        self._clock = runtime.clock

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
        take = self._hedging.take if hedge else self._take
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
            await self._done(pooled, clean)
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
        """Run `work` on one node after another until one does not fail.

        Each node is tried once; where replay was in its way twice, when there is nobody else.
        """
        deadline_s = None if timeout_s is None else self._clock() + timeout_s
        while True:
            lease_s = self._terms.lease_deadline_s(timeout_s, deadline_s)
            try:
                pooled, first = first or await self._borrow(intent, lease_s, tried.nodes), None
            except PrimaryUnavailable:
                if not tried.in_conflict:
                    raise
                tried = tried.once_more()
                continue
            pooled.replayable = True
            try:
                result = await in_time(work(pooled), pooled, deadline_s, self._runtime)
            except BaseException as error:
                tried = await self._after_failure(pooled, error, tried, timeout_s, deadline_s)
            else:
                if isinstance(result, Elsewhere):
                    rows: T = result.rows
                    return rows
                await self._done(pooled, clean)
                return result

    async def _after_failure(
        self,
        pooled: Pooled[C],
        error: BaseException,
        tried: Tried,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Tried:
        """Take the connection back. Returns where it was tried when the read may run elsewhere; else raises `error`."""
        pooled.replayable = False
        consequence = await self._returns.give_back(pooled, error)
        if pooled.timed_out and isinstance(error, Exception):
            raise late(self._returns.node_of(pooled).name, timeout_s) from None
        if not consequence.retry_elsewhere:
            raise error
        lost = consequence.drop_connection and not pooled.severed
        in_conflict = not consequence.drop_connection
        tried = tried.after(self._returns.node_of(pooled).name, lost, in_conflict)
        if refusal := await self._retries.refusal(tried, inf if deadline_s is None else deadline_s):
            error.add_note(f"pgfleet: this read was not sent once more: {refusal}")
            raise error
        return tried
