"""What needs no waiting, and so is the same among threads and among tasks."""

from __future__ import annotations

import select
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, TransactionStatus

from pgfleet.adapters.psycopg.cutting import shut
from pgfleet.adapters.session import FATAL, SessionSettings
from pgfleet.core.failure import Fault

_KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""A peer that vanished is noticed in 25 seconds, not in the kernel's two hours, unless the DSN says else."""

PREPARE_THRESHOLD = 5
"""After so many times a statement is prepared: psycopg's own default. Behind a pooler none is: it would stay there."""


class Common:
    """What both connectors do alike."""

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
        shut(conn)

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


def is_plain(conn: psycopg.BaseConnection[Any]) -> bool:
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
