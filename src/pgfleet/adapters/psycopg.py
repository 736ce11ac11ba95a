"""psycopg 3: both faces."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Sequence
from typing import Any

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
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg.rows import tuple_row

from pgfleet.adapters.session import FATAL, RESET_SQL, SessionSettings
from pgfleet.core.failure import Fault
from pgfleet.core.statement import leaves_session_alone

_KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""A peer that vanished is noticed in 25 seconds, not in the kernel's two hours, unless the DSN says else."""


class FleetConnection(Connection[Any]):
    """psycopg's connection, which remembers whether a statement may have left something in the session.

    Statements are seen as they pass through its cursors; so a cleaning round trip is made only when there is something
    to clean. A cursor made by hand, `psycopg.Cursor(conn)`, passes by: use `conn.cursor()`.
    """

    touched = False


class AsyncFleetConnection(AsyncConnection[Any]):
    """The same for `psycopg.AsyncConnection`."""

    touched = False


def _note(connection: Any, query: object) -> None:
    if not connection.touched:
        connection.touched = not (isinstance(query, str) and leaves_session_alone(query))


class _Cursor(Cursor[Any]):
    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        _note(self.connection, query)
        return super().execute(query, *args, **kwargs)

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
        _note(self.connection, query)
        super().executemany(query, *args, **kwargs)

    def stream(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        _note(self.connection, query)
        return super().stream(query, *args, **kwargs)

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        _note(self.connection, statement)
        return super().copy(statement, *args, **kwargs)


class _AsyncCursor(AsyncCursor[Any]):
    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        _note(self.connection, query)
        return super().execute(query, *args, **kwargs)

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        _note(self.connection, query)
        return super().executemany(query, *args, **kwargs)

    def stream(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        _note(self.connection, query)
        return super().stream(query, *args, **kwargs)

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        _note(self.connection, statement)
        return super().copy(statement, *args, **kwargs)


class _ServerCursor(ServerCursor[Any]):
    def __init__(self, connection: Any, *args: Any, **kwargs: Any) -> None:
        connection.touched = True
        super().__init__(connection, *args, **kwargs)


class _AsyncServerCursor(AsyncServerCursor[Any]):
    def __init__(self, connection: Any, *args: Any, **kwargs: Any) -> None:
        connection.touched = True
        super().__init__(connection, *args, **kwargs)


class _Common:
    """What needs no waiting, and so is the same for both faces."""

    transactional = True
    """A write lease is one transaction."""

    def __init__(self, session: SessionSettings) -> None:
        self._session = session

    def _conninfo(self) -> str:
        """The connection string as given, with our settings before its own `options`, so that its own prevail."""
        session = self._session
        given = session.dsn.parameters
        options = [f"-c {name}={value}" for name, value in session.server_settings.items()]
        ours: dict[str, Any] = {key: value for key, value in _KEEPALIVE.items() if key not in given}
        ours["options"] = " ".join([*options, given.get("options", "")]).strip()
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
            return Fault(sqlstate=error.sqlstate, lost=error.diag.severity_nonlocalized in FATAL)
        if not isinstance(error, psycopg.OperationalError):
            return None
        login = error.pgconn
        if login is not None and (login.used_password or login.needs_password):
            return Fault(refused_login=True)
        return Fault(lost=True, timed_out=isinstance(error, psycopg.errors.ConnectionTimeout))


def _readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class PsycopgConnector(_Common):
    """Connections of psycopg, among threads. Every coroutine here blocks and never suspends."""

    async def open(self, timeout_s: float) -> FleetConnection:
        """A new connection. psycopg waits for at least two seconds."""
        conn = FleetConnection.connect(
            self._conninfo(),
            autocommit=True,
            cursor_factory=_Cursor,
            connect_timeout=max(1, round(timeout_s)),
        )
        conn.server_cursor_factory = _ServerCursor
        return conn

    async def one_row(self, conn: FleetConnection, sql: str) -> Sequence[Any]:
        """The first row of a statement without parameters."""
        row: Sequence[Any] = Cursor(conn).execute(sql, prepare=True).fetchone() or ()
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
        conn.commit()

    async def rollback(self, conn: FleetConnection) -> None:
        """Roll back what `begin` returned."""
        conn.rollback()

    async def reset(self, conn: FleetConnection) -> None:
        """End an open transaction, and take back what the session holds if a statement may have left something."""
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            conn.rollback()
        if not conn.autocommit:
            conn.autocommit, conn.isolation_level, conn.read_only = True, None, None
        conn.row_factory = tuple_row
        if conn.touched:
            Cursor(conn).execute(RESET_SQL)
            conn.touched = False

    async def close(self, conn: FleetConnection) -> None:
        """End the session."""
        conn.close()


class AsyncPsycopgConnector(_Common):
    """Connections of psycopg, among tasks."""

    async def open(self, timeout_s: float) -> AsyncFleetConnection:
        """A new connection."""
        async with asyncio.timeout(timeout_s):
            conn = await AsyncFleetConnection.connect(
                self._conninfo(), autocommit=True, cursor_factory=_AsyncCursor
            )
        conn.server_cursor_factory = _AsyncServerCursor
        return conn

    async def one_row(self, conn: AsyncFleetConnection, sql: str) -> Sequence[Any]:
        """The first row of a statement without parameters."""
        cursor = await AsyncCursor(conn).execute(sql, prepare=True)
        row: Sequence[Any] = await cursor.fetchone() or ()
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
        if read_only:
            await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            await conn.set_read_only(True)
        await conn.set_autocommit(False)
        return conn

    async def commit(self, conn: AsyncFleetConnection) -> None:
        """Commit what `begin` returned."""
        await conn.commit()

    async def rollback(self, conn: AsyncFleetConnection) -> None:
        """Roll back what `begin` returned."""
        await conn.rollback()

    async def reset(self, conn: AsyncFleetConnection) -> None:
        """End an open transaction, and take back what the session holds if a statement may have left something."""
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            await conn.rollback()
        if not conn.autocommit:
            await conn.set_autocommit(True)
            await conn.set_isolation_level(None)
            await conn.set_read_only(None)
        conn.row_factory = tuple_row
        if conn.touched:
            await AsyncCursor(conn).execute(RESET_SQL)
            conn.touched = False

    async def close(self, conn: AsyncFleetConnection) -> None:
        """End the session."""
        await conn.close()
