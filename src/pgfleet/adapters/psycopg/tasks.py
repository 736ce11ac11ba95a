"""psycopg among tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import AsyncCursor, AsyncServerCursor, IsolationLevel
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGcancelConn
from psycopg.rows import tuple_row

from pgfleet.adapters.psycopg.common import Common, is_plain
from pgfleet.adapters.psycopg.connections import AsyncFleetConnection, AsyncFleetCursor
from pgfleet.adapters.psycopg.cutting import CANCEL_TIMEOUT_S, ask_to_stop, cancel_request
from pgfleet.adapters.session import RESET_SQL


class AsyncPsycopgConnector(Common):
    """Connections of psycopg, among tasks."""

    async def open(self, timeout_s: float) -> AsyncFleetConnection:
        """A new connection."""
        async with asyncio.timeout(timeout_s):
            return await AsyncFleetConnection.connect(
                self._conninfo(),
                autocommit=True,
                cursor_factory=AsyncFleetCursor,
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
        if not is_plain(conn):
            await conn.set_autocommit(True)
            await conn.set_isolation_level(None)
            await conn.set_read_only(None)
            await conn.set_deferrable(None)
            conn.forgive(talks)
        conn.row_factory, conn.cursor_factory = tuple_row, AsyncFleetCursor
        conn.server_cursor_factory = AsyncServerCursor
        if conn.touched and not self._session.pooled:
            await AsyncCursor(conn).execute(RESET_SQL)
            conn.harmless = conn.talks

    def abandon(self, conn: AsyncFleetConnection) -> Coroutine[Any, Any, None]:
        """Cut it now; the request to stop goes out when the result is run."""
        request = cancel_request(conn)
        self.sever(conn)
        return self._ask_to_stop(request)

    async def _ask_to_stop(self, request: PGcancelConn | None) -> None:
        with suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await ask_to_stop(request)

    async def close(self, conn: AsyncFleetConnection) -> None:
        """End the session."""
        await conn.close()
