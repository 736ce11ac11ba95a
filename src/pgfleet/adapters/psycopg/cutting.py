"""How a statement that nobody waits for is ended."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import capabilities, generators, waiting
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGcancelConn

WAIT_INTERVAL_S = 0.1
"""How often a wait looks up, as psycopg's own do."""
CANCEL_TIMEOUT_S = 1.0
"""The longest that a cancel request may take which nobody waits for."""


def shut(conn: psycopg.BaseConnection[Any]) -> None:
    """Shut the socket down: whoever waits on it fails at once, where a cancel request might hang."""
    try:
        duplicate = os.dup(conn.pgconn.socket)
    except (OSError, psycopg.Error):
        return  # closed already
    with socket.socket(fileno=duplicate) as sock, suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def cancel_request(conn: psycopg.BaseConnection[Any]) -> PGcancelConn | None:
    """What tells the server to stop: it needs `conn` no more. libpq before 17 has none that does not block."""
    active = conn.pgconn.transaction_status == TransactionStatus.ACTIVE
    if not active or not capabilities.has_cancel_safe():
        return None
    return conn.pgconn.cancel_conn()


async def ask_to_stop(request: PGcancelConn | None) -> None:
    """Send the request, for as long as the caller lets us."""
    if request:
        request.start()
        await waiting.wait_conn_async(generators.cancel(request), interval=WAIT_INTERVAL_S)


def ask_to_stop_blocking(request: PGcancelConn | None) -> None:
    """Send the request, for a second at most."""
    if request:
        request.start()
        waiting.wait_conn(generators.cancel(request), interval=WAIT_INTERVAL_S, timeout=CANCEL_TIMEOUT_S)
