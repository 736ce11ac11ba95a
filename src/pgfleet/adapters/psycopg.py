"""psycopg 3: both faces."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg import (
    AsyncConnection,
    AsyncCursor,
    AsyncServerCursor,
    Connection,
    Cursor,
    IsolationLevel,
    ServerCursor,
    capabilities,
    generators,
    waiting,
)
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg.pq.abc import PGcancelConn
from psycopg.rows import tuple_row

from pgfleet.adapters.session import FATAL, RESET_SQL, SessionSettings
from pgfleet.core.failure import Fault
from pgfleet.core.statement import leaves_session_alone

T = TypeVar("T")

WAIT_INTERVAL_S = 0.1
"""How often a wait looks up, as psycopg's own do."""
CANCEL_PATIENCE_S = 0.2
"""The longest that a caller who was cancelled waits for the server to confirm it; then the connection is cut."""
CANCEL_TIMEOUT_S = 1.0
"""The longest that a cancel request may take which nobody waits for."""

_KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""A peer that vanished is noticed in 25 seconds, not in the kernel's two hours, unless the DSN says else."""


PREPARE_THRESHOLD = 5
"""After so many times a statement is prepared: psycopg's own default. Behind a pooler none is: it would stay there."""


class _Talk:
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


def _shut(conn: psycopg.BaseConnection[Any]) -> None:
    """Shut the socket down: whoever waits on it fails at once, where a cancel request might hang."""
    try:
        duplicate = os.dup(conn.pgconn.socket)
    except (OSError, psycopg.Error):
        return  # closed already
    with socket.socket(fileno=duplicate) as sock, suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _cancel_request(conn: psycopg.BaseConnection[Any]) -> PGcancelConn | None:
    """What tells the server to stop: it needs `conn` no more. libpq before 17 has none that does not block."""
    active = conn.pgconn.transaction_status == TransactionStatus.ACTIVE
    if not active or not capabilities.has_cancel_safe():
        return None
    return conn.pgconn.cancel_conn()


async def _ask_to_stop(request: PGcancelConn | None) -> None:
    if request:
        request.start()
        await waiting.wait_conn_async(generators.cancel(request), interval=WAIT_INTERVAL_S)


class FleetConnection(_Talk, Connection[Any]):
    """`psycopg.Connection`, which knows whether its session needs cleaning."""

    def commit(self) -> None:
        """Commit."""
        self.ended = True
        super().commit()

    def transaction(self, *args: Any, **kwargs: Any) -> Any:
        """A block, which ends the transaction with it if it begins it."""
        self.ended |= _is_between_transactions(self)
        return super().transaction(*args, **kwargs)

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Talk to the server."""
        self.talks += 1
        return super().wait(gen, *args, **kwargs)


class AsyncFleetConnection(_Talk, AsyncConnection[Any]):
    """`psycopg.AsyncConnection`, which knows whether its session needs cleaning."""

    async def commit(self) -> None:
        """Commit."""
        self.ended = True
        await super().commit()

    def transaction(self, *args: Any, **kwargs: Any) -> Any:
        """A block, which ends the transaction with it if it begins it."""
        self.ended |= _is_between_transactions(self)
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
                await _ask_to_stop(_cancel_request(self))
                await waiting.wait_async(gen, self.pgconn.socket, interval=WAIT_INTERVAL_S)
        except (psycopg.Error, TimeoutError):
            pass  # QueryCanceled, if all went well
        finally:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                _shut(self)


class _Cursor(Cursor[Any]):
    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        conn: Any = self.connection
        talks = conn.talks
        super().execute(query, *args, **kwargs)
        if isinstance(query, str) and leaves_session_alone(query):
            conn.forgive_one(talks)
        return self


class _AsyncCursor(AsyncCursor[Any]):
    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        conn: Any = self.connection
        talks = conn.talks
        await super().execute(query, *args, **kwargs)
        if isinstance(query, str) and leaves_session_alone(query):
            conn.forgive_one(talks)
        return self


class _Common:
    """What needs no waiting, and so is the same for both faces."""

    transactional = True
    """A write lease is one transaction."""

    def __init__(self, session: SessionSettings) -> None:
        self._session = session
        self._prepare_threshold = None if session.pooled else PREPARE_THRESHOLD

    def _conninfo(self) -> str:
        """The connection string as given, with our settings."""
        session = self._session
        given = session.parameters
        ours: dict[str, Any] = {key: value for key, value in _KEEPALIVE.items() if key not in given}
        ours["options"] = session.options
        if "target_session_attrs" in given:
            ours["target_session_attrs"] = given["target_session_attrs"]
        ours["application_name"] = given.get("application_name") or "pgfleet"
        if session.password:
            ours["password"] = session.password()
        return make_conninfo(session.dsn.reveal(), **ours)

    def sever(self, conn: psycopg.BaseConnection[Any]) -> None:
        """Whoever waits on it fails at once."""
        _shut(conn)

    def drop(self, conn: psycopg.BaseConnection[Any]) -> None:
        """Shut the socket down, and free what libpq holds."""
        self.sever(conn)
        conn.pgconn.finish()

    def is_idle(self, conn: psycopg.BaseConnection[Any]) -> bool:
        """Alive, in no transaction, and with nothing to read: to an idle client a server speaks only to say goodbye."""
        pgconn = conn.pgconn
        if pgconn.status != ConnStatus.OK or pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        return not _readable(pgconn.socket)

    def is_gone(self, conn: psycopg.BaseConnection[Any]) -> bool:
        """What has arrived says so: a server's goodbye, or the end of the connection."""
        pgconn = conn.pgconn
        try:
            while pgconn.status == ConnStatus.OK and _readable(pgconn.socket):
                pgconn.consume_input()
        except psycopg.OperationalError:
            return True
        return pgconn.status != ConnStatus.OK

    def lost_with(self, conn: psycopg.BaseConnection[Any], error: BaseException) -> bool:
        """A server's code says all. libpq's own word may be of a connection of the caller's to another database."""
        fault = self.fault(error)
        return fault is not None and fault.lost and (fault.sqlstate is not None or self.is_gone(conn))

    def may_have_committed(self, transaction: Any) -> bool:
        """By `conn.commit()` or by a `conn.transaction()` that began it; a COMMIT in SQL text is not seen."""
        return bool(transaction.ended)

    def fault(self, error: BaseException) -> Fault | None:
        """What an error of psycopg means. libpq tells no SQLSTATE of a login that was refused."""
        if not isinstance(error, psycopg.Error):
            return None
        if error.sqlstate:
            # A pooler tells the localized one alone.
            severity = error.diag.severity_nonlocalized or error.diag.severity
            return Fault(sqlstate=error.sqlstate, lost=severity in FATAL)
        if not isinstance(error, psycopg.OperationalError):
            return None
        login = error.pgconn
        if login is not None and (login.used_password or login.needs_password):
            return Fault(refused_login=True)
        return Fault(lost=True, timed_out=isinstance(error, psycopg.errors.ConnectionTimeout))


def _is_between_transactions(conn: psycopg.BaseConnection[Any]) -> bool:
    return conn.pgconn.transaction_status == TransactionStatus.IDLE


def _is_plain(conn: psycopg.BaseConnection[Any]) -> bool:
    """Whether transactions begin as on a new connection of ours."""
    return (
        conn.autocommit
        and conn.isolation_level is None
        and conn.read_only is None
        and conn.deferrable is None
    )


def _readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class PsycopgConnector(_Common):
    """Connections of psycopg, among threads. Every coroutine here blocks and never suspends."""

    async def open(self, timeout_s: float) -> FleetConnection:
        """A new connection. psycopg waits for at least two seconds."""
        return FleetConnection.connect(
            self._conninfo(),
            autocommit=True,
            cursor_factory=_Cursor,
            prepare_threshold=self._prepare_threshold,
            connect_timeout=max(1, round(timeout_s)),
        )

    async def one_row(self, conn: FleetConnection, sql: str) -> Sequence[Any]:
        """The first row of a statement without parameters."""
        talks = conn.talks
        row: Sequence[Any] = Cursor(conn, row_factory=tuple_row).execute(sql, prepare=True).fetchone() or ()
        conn.forgive(talks)
        return row

    async def fetch(self, conn: FleetConnection, sql: str, args: Sequence[Any]) -> list[Any]:
        """All rows of one statement."""
        cursor = conn.execute(sql, args or None)
        return cursor.fetchall() if cursor.description else []

    async def execute(self, conn: FleetConnection, sql: str, args: Sequence[Any]) -> str:
        """Run one statement; the server's command tag."""
        return conn.execute(sql, args or None).statusmessage or ""

    async def begin(self, conn: FleetConnection, *, read_only: bool) -> FleetConnection:
        """The driver begins with the first statement."""
        if read_only:
            conn.isolation_level, conn.read_only = IsolationLevel.REPEATABLE_READ, True
        conn.autocommit, conn.ended = False, False
        return conn

    async def commit(self, conn: FleetConnection) -> None:
        """Commit what `begin` returned."""
        talks = conn.talks
        conn.commit()
        conn.forgive(talks)

    async def rollback(self, conn: FleetConnection) -> None:
        """Roll back what `begin` returned."""
        talks = conn.talks
        conn.rollback()
        conn.forgive(talks)

    async def reset(self, conn: FleetConnection) -> None:
        """End an open transaction, and take back what the session holds if a statement may have left something."""
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            conn.rollback()
        if not _is_plain(conn):
            conn.autocommit, conn.isolation_level, conn.read_only, conn.deferrable = True, None, None, None
        conn.row_factory, conn.cursor_factory, conn.server_cursor_factory = tuple_row, _Cursor, ServerCursor
        if conn.touched and not self._session.pooled:
            Cursor(conn).execute(RESET_SQL)
            conn.harmless = conn.talks

    def abandon(self, conn: FleetConnection) -> Coroutine[Any, Any, None]:
        """Cut it now; the request to stop goes out when the result is run."""
        request = _cancel_request(conn)
        self.sever(conn)
        return self._ask_to_stop(request)

    async def _ask_to_stop(self, request: PGcancelConn | None) -> None:
        with suppress(psycopg.Error):
            if request:
                request.start()
                waiting.wait_conn(
                    generators.cancel(request), interval=WAIT_INTERVAL_S, timeout=CANCEL_TIMEOUT_S
                )

    async def close(self, conn: FleetConnection) -> None:
        """End the session."""
        conn.close()


class AsyncPsycopgConnector(_Common):
    """Connections of psycopg, among tasks."""

    async def open(self, timeout_s: float) -> AsyncFleetConnection:
        """A new connection."""
        async with asyncio.timeout(timeout_s):
            return await AsyncFleetConnection.connect(
                self._conninfo(),
                autocommit=True,
                cursor_factory=_AsyncCursor,
                prepare_threshold=self._prepare_threshold,
            )

    async def one_row(self, conn: AsyncFleetConnection, sql: str) -> Sequence[Any]:
        """The first row of a statement without parameters."""
        talks = conn.talks
        cursor = await AsyncCursor(conn, row_factory=tuple_row).execute(sql, prepare=True)
        row: Sequence[Any] = await cursor.fetchone() or ()
        conn.forgive(talks)
        return row

    async def fetch(self, conn: AsyncFleetConnection, sql: str, args: Sequence[Any]) -> list[Any]:
        """All rows of one statement."""
        cursor = await conn.execute(sql, args or None)
        return await cursor.fetchall() if cursor.description else []

    async def execute(self, conn: AsyncFleetConnection, sql: str, args: Sequence[Any]) -> str:
        """Run one statement; the server's command tag."""
        return (await conn.execute(sql, args or None)).statusmessage or ""

    async def begin(self, conn: AsyncFleetConnection, *, read_only: bool) -> AsyncFleetConnection:
        """The driver begins with the first statement."""
        talks = conn.talks
        if read_only:
            await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            await conn.set_read_only(True)
        await conn.set_autocommit(False)
        conn.ended = False
        conn.forgive(talks)
        return conn

    async def commit(self, conn: AsyncFleetConnection) -> None:
        """Commit what `begin` returned."""
        talks = conn.talks
        await conn.commit()
        conn.forgive(talks)

    async def rollback(self, conn: AsyncFleetConnection) -> None:
        """Roll back what `begin` returned."""
        talks = conn.talks
        await conn.rollback()
        conn.forgive(talks)

    async def reset(self, conn: AsyncFleetConnection) -> None:
        """End an open transaction, and take back what the session holds if a statement may have left something."""
        talks = conn.talks
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            await conn.rollback()
        if not _is_plain(conn):
            await conn.set_autocommit(True)
            await conn.set_isolation_level(None)
            await conn.set_read_only(None)
            await conn.set_deferrable(None)
            conn.forgive(talks)
        conn.row_factory, conn.cursor_factory = tuple_row, _AsyncCursor
        conn.server_cursor_factory = AsyncServerCursor
        if conn.touched and not self._session.pooled:
            await AsyncCursor(conn).execute(RESET_SQL)
            conn.harmless = conn.talks

    def abandon(self, conn: AsyncFleetConnection) -> Coroutine[Any, Any, None]:
        """Cut it now; the request to stop goes out when the result is run."""
        request = _cancel_request(conn)
        self.sever(conn)
        return self._ask_to_stop(request)

    async def _ask_to_stop(self, request: PGcancelConn | None) -> None:
        with suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await _ask_to_stop(request)

    async def close(self, conn: AsyncFleetConnection) -> None:
        """End the session."""
        await conn.close()
