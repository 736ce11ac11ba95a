"""psycopg's connections, which know whether their session needs cleaning."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor, waiting
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from pgfleet.adapters.psycopg.cutting import WAIT_INTERVAL_S, ask_to_stop, cancel_request, shut
from pgfleet.core.statement import leaves_session_alone

T = TypeVar("T")

CANCEL_PATIENCE_S = 0.2
"""The longest that a caller who was cancelled waits for the server to confirm it; then the connection is cut."""


class Talk:
    """Remembers whether anything was said to the server that may have left something in the session.

    Everything that a connection does passes through psycopg's `wait`, whichever cursor, copy or pipeline it comes
    from. So a cleaning round trip is made only when there is something to clean. `pgconn`, libpq itself, passes by.
    """

    talks = 0
    harmless = 0
    """How many of the talks came before the last moment at which the session was known to be clean."""
    ended = False
    """Since a transaction of ours began, the caller has committed, or opened a transaction block that commits."""

    @property
    def touched(self) -> bool:
        """Whether the session needs cleaning."""
        return self.talks != self.harmless

    def forgive(self, talks: int) -> None:
        """What was said since `talks` left nothing behind, if the session was clean then."""
        if self.harmless == talks:
            self.harmless = self.talks

    def forgive_one(self, talks: int) -> None:
        """The same for one talk. Were there more, another task or thread talked too, and of that we know nothing."""
        if self.talks == talks + 1:
            self.forgive(talks)


class FleetConnection(Talk, Connection[Any]):
    """`psycopg.Connection`, which knows whether its session needs cleaning."""

    def commit(self) -> None:
        """Commit."""
        self.ended = True
        super().commit()

    def transaction(self, *args: Any, **kwargs: Any) -> Any:
        """A block, which ends the transaction with it if it begins it."""
        self.ended |= is_between_transactions(self)
        return super().transaction(*args, **kwargs)

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Talk to the server."""
        self.talks += 1
        return super().wait(gen, *args, **kwargs)


class AsyncFleetConnection(Talk, AsyncConnection[Any]):
    """`psycopg.AsyncConnection`, which knows whether its session needs cleaning."""

    async def commit(self) -> None:
        """Commit."""
        self.ended = True
        await super().commit()

    def transaction(self, *args: Any, **kwargs: Any) -> Any:
        """A block, which ends the transaction with it if it begins it."""
        self.ended |= is_between_transactions(self)
        return super().transaction(*args, **kwargs)

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Talk to the server. Cancelled, tell it to stop, and wait for its word only a moment."""
        self.talks += 1
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, *(args or (WAIT_INTERVAL_S,)), **kwargs)
        except asyncio.CancelledError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                await self._stop(gen)
            raise

    async def _stop(self, gen: PQGen[Any]) -> None:
        """End the statement under way. psycopg itself waits ten seconds for a server that is silent."""
        try:
            async with asyncio.timeout(CANCEL_PATIENCE_S):
                await ask_to_stop(cancel_request(self))
                await waiting.wait_async(gen, self.pgconn.socket, interval=WAIT_INTERVAL_S)
        except (psycopg.Error, TimeoutError):
            pass  # QueryCanceled, if all went well
        finally:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                shut(self)


class FleetCursor(Cursor[Any]):
    """`psycopg.Cursor`, which tells its connection of statements that leave the session alone."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a statement."""
        conn: Any = self.connection
        talks = conn.talks
        super().execute(query, *args, **kwargs)
        if isinstance(query, str) and leaves_session_alone(query):
            conn.forgive_one(talks)
        return self


class AsyncFleetCursor(AsyncCursor[Any]):
    """`psycopg.AsyncCursor`, which tells its connection of statements that leave the session alone."""

    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a statement."""
        conn: Any = self.connection
        talks = conn.talks
        await super().execute(query, *args, **kwargs)
        if isinstance(query, str) and leaves_session_alone(query):
            conn.forgive_one(talks)
        return self


def is_between_transactions(conn: psycopg.BaseConnection[Any]) -> bool:
    """Whether the next statement begins one."""
    return conn.pgconn.transaction_status == TransactionStatus.IDLE
