"""A connection to one of our own servers that needs no driver and no psql: text in, rows of text out."""

from __future__ import annotations

import socket
import struct
from types import TracebackType

from pgfleet.errors import LocalFleetError
from pgfleet.local.scram import MECHANISM, ScramExchange

PROTOCOL_3_0 = 196_608
SASL, SASL_CONTINUE, SASL_FINAL = 10, 11, 12

Rows = list[tuple[str, ...]]


class Session:
    """One session of PostgreSQL's protocol 3, simple queries only.

    Every wait for the server is bounded by `timeout_s`. Raises LocalFleetError when the server refuses, reports an
    error, or does not answer.
    """

    def __init__(self, port: int, user: str, password: str, database: str, timeout_s: float = 10.0) -> None:
        self._at = f"the server on port {port}"
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        except OSError as refused:
            raise LocalFleetError(
                f"{self._at} takes no connection: {refused}", "pgfleet local status"
            ) from refused
        self._stream = self._socket.makefile("rb")
        try:
            self._log_in(user, password, database)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. The server notices, and ends what still runs at its next chance."""
        self._stream.close()
        self._socket.close()

    def query(self, sql: str) -> Rows:
        """Run one or more statements, and return the rows of the last that gave any; NULL is an empty string."""
        self._send(b"Q", sql.encode() + b"\0")
        rows: Rows = []
        while (message := self._receive())[0] != b"Z":
            if message[0] == b"T":
                rows = []
            elif message[0] == b"D":
                rows.append(_fields(message[1]))
        return rows

    def _log_in(self, user: str, password: str, database: str) -> None:
        names = {
            "user": user,
            "database": database,
            "application_name": "pgfleet local",
            "client_encoding": "UTF8",
        }
        startup = (
            struct.pack("!i", PROTOCOL_3_0)
            + b"".join(f"{k}\0{v}\0".encode() for k, v in names.items())
            + b"\0"
        )
        self._send(b"", startup)
        scram = ScramExchange(password)
        while (message := self._receive())[0] != b"Z":
            if message[0] == b"R":
                self._authenticate(scram, message[1])

    def _authenticate(self, scram: ScramExchange, body: bytes) -> None:
        step, said = struct.unpack("!i", body[:4])[0], body[4:].decode()
        if step == SASL:
            first = scram.first()
            self._send(b"p", f"{MECHANISM}\0".encode() + struct.pack("!i", len(first)) + first)
        elif step == SASL_CONTINUE:
            self._send(b"p", scram.final(said))
        elif step == SASL_FINAL and not scram.accepts(said):
            raise LocalFleetError(f"{self._at} does not know this fleet's password", "pgfleet local status")

    def _send(self, kind: bytes, body: bytes) -> None:
        try:
            self._socket.sendall(kind + struct.pack("!i", len(body) + 4) + body)
        except OSError as broken:
            raise self._silent(broken) from broken

    def _receive(self) -> tuple[bytes, bytes]:
        """The next message. An error the server reports is raised here."""
        try:
            head = self._stream.read(5)
            body = self._stream.read(struct.unpack("!i", head[1:])[0] - 4) if len(head) == 5 else b""
        except OSError as broken:
            raise self._silent(broken) from broken
        if len(head) < 5:
            raise self._silent("it closed the connection")
        if head[:1] == b"E":
            raise LocalFleetError(f"{self._at} says: {_report(body)}")
        return head[:1], body

    def _silent(self, why: object) -> LocalFleetError:
        return LocalFleetError(
            f"{self._at} does not answer: {why}", "pgfleet local status shows what it does"
        )


def _fields(body: bytes) -> tuple[str, ...]:
    fields, at = [], 2
    for _ in range(struct.unpack("!h", body[:2])[0]):
        length = max(0, struct.unpack("!i", body[at : at + 4])[0])
        fields.append(body[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return tuple(fields)


def _report(body: bytes) -> str:
    """`FATAL: the database system is starting up (57P03)`, of an ErrorResponse."""
    parts = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return f"{parts[b'S']}: {parts[b'M']} ({parts[b'C']})"
