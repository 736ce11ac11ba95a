"""psycopg among threads. Every coroutine here blocks and never suspends."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import Cursor, IsolationLevel, ServerCursor
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGcancelConn
from psycopg.rows import tuple_row

from pgfleet.adapters.psycopg.common import Common, is_plain
from pgfleet.adapters.psycopg.connections import FleetConnection, FleetCursor
from pgfleet.adapters.psycopg.cutting import ask_to_stop_blocking, cancel_request
from pgfleet.adapters.session import RESET_SQL


class PsycopgConnector(Common):
    """Connections of psycopg, among threads."""

    async def open(self, timeout_s: float) -> FleetConnection:
        """A new connection. psycopg waits for at least two seconds."""
        return FleetConnection.connect(
            self._conninfo(),
            autocommit=True,
            cursor_factory=FleetCursor,
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
        if not is_plain(conn):
            conn.autocommit, conn.isolation_level, conn.read_only, conn.deferrable = True, None, None, None
        conn.row_factory, conn.cursor_factory = tuple_row, FleetCursor
        conn.server_cursor_factory = ServerCursor
        if conn.touched and not self._session.pooled:
            Cursor(conn).execute(RESET_SQL)
            conn.harmless = conn.talks

    def abandon(self, conn: FleetConnection) -> Coroutine[Any, Any, None]:
        """Cut it now; the request to stop goes out when the result is run."""
        request = cancel_request(conn)
        self.sever(conn)
        return self._ask_to_stop(request)

    async def _ask_to_stop(self, request: PGcancelConn | None) -> None:
        with suppress(psycopg.Error):
            ask_to_stop_blocking(request)

    async def close(self, conn: FleetConnection) -> None:
        """End the session."""
        conn.close()
