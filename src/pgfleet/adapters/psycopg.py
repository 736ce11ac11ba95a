"""psycopg 3: both faces."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Coroutine, Sequence
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
)
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg.rows import tuple_row

from pgfleet.adapters.session import FATAL, RESET_SQL, SessionSettings
from pgfleet.core.failure import Fault
from pgfleet.core.statement import leaves_session_alone

T = TypeVar("T")

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


class FleetConnection(_Talk, Connection[Any]):
    """`psycopg.Connection`, which knows whether its session needs cleaning."""

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Talk to the server."""
        self.talks += 1
        return super().wait(gen, *args, **kwargs)


class AsyncFleetConnection(_Talk, AsyncConnection[Any]):
    """`psycopg.AsyncConnection`, which knows whether its session needs cleaning."""

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> Coroutine[Any, Any, T]:
        """Talk to the server."""
        self.talks += 1
        return super().wait(gen, *args, **kwargs)


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
        """Shut the socket down: whoever waits on it fails at once, where a cancel request might hang."""
        try:
            duplicate = os.dup(conn.pgconn.socket)
        except (OSError, psycopg.Error):
            return  # closed already
        with socket.socket(fileno=duplicate) as sock:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

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
        conn.autocommit = False
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

    async def close(self, conn: AsyncFleetConnection) -> None:
        """End the session."""
        await conn.close()
