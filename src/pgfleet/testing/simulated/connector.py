"""The driver of a simulated cluster: the port `Connector`, as asyncpg and psycopg implement it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pgfleet.adapters.session import SessionSettings
from pgfleet.core.failure import Fault
from pgfleet.testing.simulated.errors import SimulatedError, sql_error
from pgfleet.testing.simulated.session import Session, settle_with

if TYPE_CHECKING:
    from pgfleet.testing.simulated.cluster import Cluster


class SimulatedConnector:
    """Connections of one client to one server."""

    def __init__(self, cluster: Cluster, client: str, session: SessionSettings, transactional: bool) -> None:
        self.transactional = transactional
        self.cluster = cluster
        self.client = client
        self.server = cluster.servers[session.dsn.hosts[0][0]]
        self.read_only = session.read_only
        self._link = cluster.link(client, self.server.name)

    async def open(self, timeout_s: float) -> Session:
        """A new session, once the server has said hello."""
        loop = asyncio.get_running_loop()
        hello: asyncio.Future[Session] = loop.create_future()
        patience = loop.call_later(timeout_s, settle_with, hello, TimeoutError("timed out"))
        self._link.requests.send(partial(self._knock, hello))
        try:
            return await hello
        finally:
            patience.cancel()

    def _knock(self, hello: asyncio.Future[Session]) -> None:
        server, answer = self.server, self._link.answers.send
        if self._link.refuses or not server.up:
            answer(
                partial(settle_with, hello, ConnectionRefusedError(f"{server.name} refused the connection"))
            )
        elif server.frozen:
            server.stalled.append(partial(self._knock, hello))
        elif self.cluster.now_s < server.starts_until_s:
            answer(partial(settle_with, hello, sql_error("57P03", fatal=True)))
        elif len(server.sessions) >= server.max_connections:
            answer(partial(settle_with, hello, sql_error("53300", fatal=True)))
        else:
            answer(partial(self._welcome, hello, self.cluster.session(self.client, server, self.read_only)))

    @staticmethod
    def _welcome(hello: asyncio.Future[Session], session: Session) -> None:
        if hello.done():
            session.leave()  # nobody waits for it any more
        else:
            hello.set_result(session)

    async def one_row(self, conn: Session, sql: str) -> Sequence[Any]:
        """The first row."""
        row: Sequence[Any] = await conn.ask(partial(conn.statement, sql, ()))
        self.cluster.tell("told", self.client, conn.server, row)
        return row

    async def fetch(self, conn: Session, sql: str, args: Sequence[Any]) -> list[Any]:
        """All rows."""
        rows: list[Any] = await conn.fetch(sql, *args)
        return rows

    async def execute(self, conn: Session, sql: str, args: Sequence[Any]) -> str:
        """The tag."""
        return str(await conn.fetch(sql, *args))

    async def begin(self, conn: Session, *, read_only: bool) -> Session:
        """Open a transaction."""
        await conn.begin(at_once=not self.transactional)
        return conn

    async def commit(self, transaction: Session) -> None:
        """Commit."""
        await transaction.commit()

    async def rollback(self, transaction: Session) -> None:
        """Roll back."""
        await transaction.rollback()

    async def reset(self, conn: Session) -> None:
        """Clean the session."""
        await conn.reset()

    async def close(self, conn: Session) -> None:
        """End it politely."""
        conn.leave()

    def sever(self, conn: Session) -> None:
        """Shut the socket."""
        conn.leave()

    def abandon(self, conn: Session) -> Coroutine[Any, Any, None]:
        """Shut the socket, as `sever`; the server ends with it what it was doing."""
        conn.leave()
        return _nothing()

    def drop(self, conn: Session) -> None:
        """The same."""
        conn.leave()

    def is_idle(self, conn: Session) -> bool:
        """Alive, and in no transaction."""
        return conn.alive and not conn.in_transaction

    def is_gone(self, conn: Session) -> bool:
        """Whether the client has heard of its end."""
        return not conn.alive

    def lost_with(self, conn: Session, error: BaseException) -> bool:
        """Whether the error says so."""
        return isinstance(error, SimulatedError) and error.fault.lost

    def may_have_committed(self, transaction: Session) -> bool:
        """Nobody ends a transaction here but `commit`."""
        return False

    def fault(self, error: BaseException) -> Fault | None:
        """Its own meaning."""
        return error.fault if isinstance(error, SimulatedError) else None


async def _nothing() -> None:
    """The server needs no telling."""
