"""asyncpg: the asynchronous face only."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any
from urllib.parse import urlencode

import asyncpg
from asyncpg import Connection
from asyncpg.protocol import Protocol

from pgfleet.adapters.session import FATAL, RESET_SQL, SessionSettings
from pgfleet.core.failure import Fault

_TAKEN = frozenset(
    (
        "application_name", "passfile", "service", "sslcert", "sslcrl", "sslkey", "sslmode",
        "sslnegotiation", "sslpassword", "sslrootcert", "ssl_max_protocol_version", "ssl_min_protocol_version",
        "target_session_attrs", "krbsrvname", "gsslib",
    )
)  # fmt: skip
"""libpq's parameters that asyncpg reads in a connection string. Any other it would send to the server as a setting."""

CLOSE_TIMEOUT_S = 1.0

_OUT_OF_STEP = (asyncpg.InternalClientError, asyncpg.ProtocolError)
"""A connection that nobody can use again: a server that said goodbye while it was idle, and has not hung up yet.

Exactly these. The first has subclasses that speak of other things.
"""


class FleetConnection(Connection):  # type: ignore[misc]  # asyncpg has no types
    """`asyncpg.Connection`, cleaned as every connection of ours is: asyncpg's own words leave `set role` as it is."""

    __slots__ = ("abandoned",)

    def get_reset_query(self) -> str:
        """What `reset()` sends."""
        return RESET_SQL


class PooledConnection(FleetConnection):
    """One whose server's session is the pooler's: there is nothing of ours in it to take back."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        """Nothing: it might reach another session than the one that was used."""
        return ""


class AsyncpgConnector:
    """Connections of asyncpg to one server."""

    transactional = False
    """A write lease is the driver's autocommit, unless a transaction is asked for."""

    def __init__(self, session: SessionSettings) -> None:
        self._dsn = _url(session)
        self._password = session.password
        parameters = session.dsn.parameters
        name = parameters.get("application_name") or parameters.get("fallback_application_name") or "pgfleet"
        options = {"options": session.options} if session.options else {}
        self._server_settings = {"application_name": name, **options}
        self._kind: dict[str, Any] = {"connection_class": FleetConnection}
        if session.pooled:  # a named statement stays in the session that it was prepared in
            self._kind = {"connection_class": PooledConnection, "statement_cache_size": 0}

    async def open(self, timeout_s: float) -> Connection:
        """A new connection."""
        password = {"password": self._password} if self._password else {}
        return await asyncpg.connect(
            self._dsn,
            timeout=timeout_s,
            **self._kind,
            server_settings=self._server_settings,
            **password,
        )

    async def one_row(self, conn: Connection, sql: str) -> Sequence[Any]:
        """The first row of a statement without parameters."""
        row: Sequence[Any] = await conn.fetchrow(sql)
        return row

    def fetch(self, conn: Connection, sql: str, args: Sequence[Any]) -> Any:
        """All rows of one statement: the driver's own coroutine, for the shortest way."""
        return conn.fetch(sql, *args)

    async def execute(self, conn: Connection, sql: str, args: Sequence[Any]) -> str:
        """Run one statement; the server's command tag."""
        tag: str = await conn.execute(sql, *args)
        return tag

    async def begin(self, conn: Connection, *, read_only: bool) -> Any:
        """Open a transaction; returns it."""
        options: dict[str, Any] = {"isolation": "repeatable_read", "readonly": True} if read_only else {}
        transaction = conn.transaction(**options)
        await transaction.start()
        return transaction

    async def commit(self, transaction: Any) -> None:
        """Commit a transaction of `begin`."""
        await transaction.commit()

    async def rollback(self, transaction: Any) -> None:
        """Roll a transaction of `begin` back."""
        await transaction.rollback()

    async def reset(self, conn: Connection) -> None:
        """End an open transaction, and take back what the session holds."""
        await conn.reset()

    async def close(self, conn: Connection) -> None:
        """End the session, politely if the server answers."""
        try:
            await conn.close(timeout=CLOSE_TIMEOUT_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self.sever(conn)

    def sever(self, conn: Connection) -> None:
        """Drop the transport: whoever waits on it fails at once."""
        if not conn.is_closed():
            conn.terminate()

    def abandon(self, conn: Connection) -> Coroutine[Any, Any, None]:
        """The driver sends a cancel request when it is cancelled: let it come so far, and say goodbye then."""
        conn.abandoned = True
        return self.close(conn)

    def drop(self, conn: Connection) -> None:
        """The same as `sever`: nothing is sent. One that was abandoned ends by itself."""
        if not getattr(conn, "abandoned", False):
            self.sever(conn)

    def is_idle(self, conn: Connection) -> bool:
        """Alive as far as the event loop knows, and in no transaction."""
        return not conn.is_closed() and not conn.is_in_transaction()

    def is_gone(self, conn: Connection) -> bool:
        """What the event loop knows."""
        return bool(conn.is_closed())

    def lost_with(self, conn: Connection, error: BaseException) -> bool:
        """Of a connection that was lost before the call, asyncpg says so as of any misuse of its interface.

        The end of a connection, without a server's code, may be that of the caller's to another database.
        """
        fault = self.fault(error)
        if fault is None:
            return isinstance(error, asyncpg.InterfaceError) and self.is_gone(conn)
        kinds = (asyncpg.PostgresConnectionError, AttributeError)
        of_another = isinstance(error, kinds) and not fault.sqlstate
        return fault.lost and (not of_another or self.is_gone(conn))

    def may_have_committed(self, transaction: Any) -> bool:
        """Nobody else has it: what the caller opens inside are savepoints."""
        return False

    def fault(self, error: BaseException) -> Fault | None:
        """What an error of asyncpg means. Errors that it makes itself have no severity: only the server's do.

        An internal error is a connection out of step: a server's last words came while it was idle.
        """
        if type(error) in _OUT_OF_STEP or _is_cut_in_between(error):
            return Fault(lost=True)
        if not isinstance(error, asyncpg.PostgresError):
            return None
        severity = getattr(error, "severity_en", None) or getattr(error, "severity", None)
        if severity is None:
            return Fault(lost=isinstance(error, asyncpg.PostgresConnectionError), sqlstate=None)
        return Fault(sqlstate=error.sqlstate, lost=severity in FATAL)


def _is_cut_in_between(error: BaseException) -> bool:
    """Ended between two messages of a statement, a connection has no protocol any more: asyncpg calls one of None."""
    return isinstance(error, AttributeError) and error.obj is None and hasattr(Protocol, error.name or "")


def _url(session: SessionSettings) -> str:
    """The connection string in the one form that asyncpg reads, whichever form it came in."""
    dsn = session.dsn
    given = {
        "host": ",".join(host for host, _ in dsn.hosts),
        "port": ",".join(str(port) for _, port in dsn.hosts),
        "user": dsn.user,
        "database": dsn.database,
        "password": dsn.password.reveal() if dsn.password and not session.password else None,
        **{
            key: value
            for key, value in session.parameters.items()
            if key in _TAKEN and key != "application_name"
        },
    }
    return "postgresql://?" + urlencode({key: value for key, value in given.items() if value})
