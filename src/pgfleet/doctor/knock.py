"""Every step of a connection, taken by ourselves: name, TCP, TLS, start-up, password. Tells which of them fails.

libpq tells why a login failed only in words, in the server's language. The protocol tells it by SQLSTATE.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import ssl
import struct
from collections.abc import Callable

from pgfleet.core.diagnosis.obstacle import Blocked, Obstacle, obstacle_of
from pgfleet.doctor.resolve import resolve
from pgfleet.doctor.tls import Mode, context_of, mode_of
from pgfleet.faults import first_line
from pgfleet.local.scram import MECHANISM, ScramExchange
from pgfleet.settings.dsn import Dsn

PROTOCOL_3_0 = 196_608
MAY_I_SPEAK_TLS = struct.pack("!ii", 8, 80_877_103)
CLEARTEXT, MD5, SASL, SASL_CONTINUE = 3, 5, 10, 11
LONGEST_MESSAGE_BYTES = 1 << 16

_NO_ROUTE = frozenset((errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL))


class _Met(Exception):
    """The step that failed."""

    def __init__(self, obstacle: Obstacle, detail: str = "") -> None:
        self.blocked = Blocked(obstacle, detail)


async def knock(dsn: Dsn, password: Callable[[], str] | None, timeout_s: float) -> Blocked | None:
    """The first obstacle on the way to the first host; None: all steps that we know succeed, or tell nothing."""
    visit = _Visit(dsn, password)
    try:
        async with asyncio.timeout(timeout_s):
            await visit.run()
    except _Met as met:
        return met.blocked
    except TimeoutError:
        return Blocked(visit.if_silent, f"no answer within {timeout_s:g} s")
    except (OSError, EOFError):
        return Blocked(Obstacle.FAILED, "the connection was closed while it was being opened")
    except (ValueError, LookupError, struct.error):
        return None  # what answers may be anything: what the driver made of it is what there is
    finally:
        visit.close()
    return None


class _Visit:
    """One attempt."""

    def __init__(self, dsn: Dsn, password: Callable[[], str] | None) -> None:
        self._dsn = dsn
        self._ask_password = password
        self._host, self._port = dsn.hosts[0]
        self._writer: asyncio.StreamWriter | None = None
        self.if_silent = Obstacle.DNS
        """What silence means at the present step."""

    async def run(self) -> None:
        """Take every step. Raises _Met, or what the system raises."""
        is_socket = self._host.startswith(("/", "@"))
        opening = self._open_socket() if is_socket else self._connect(await self._resolve())
        reader, self._writer = await opening
        self.if_silent = Obstacle.SILENT
        if not is_socket:
            await self._secure(reader, self._writer)
        await _Login(self._dsn, self._password(), reader, self._writer).run()

    def close(self) -> None:
        """Hang up."""
        if self._writer:
            self._writer.transport.abort()

    def _password(self) -> str | None:
        if self._ask_password:
            try:
                return self._ask_password()
            except Exception as error:  # whoever rotates passwords may fail in any way
                raise _Met(Obstacle.FAILED, first_line(error)) from None
        return self._dsn.password.reveal() if self._dsn.password else None

    async def _open_socket(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        path = f"{self._host}/.s.PGSQL.{self._port}"
        path = f"\0{path[1:]}" if path.startswith("@") else path
        try:
            return await asyncio.open_unix_connection(path)
        except FileNotFoundError as error:
            raise _Met(Obstacle.SOCKET_MISSING, f"{path}: {error.strerror}") from None
        except OSError as error:
            raise _Met(Obstacle.REFUSED, f"{path}: {error.strerror}") from None

    async def _resolve(self) -> str:
        host = self._dsn.parameters.get("hostaddr", "").split(",")[0] or self._host
        try:
            return await resolve(host, self._port)
        except (socket.gaierror, UnicodeError) as error:
            raise _Met(Obstacle.DNS, f"{host}: {getattr(error, 'strerror', '') or error}") from None

    async def _connect(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.if_silent = Obstacle.TCP_TIMEOUT
        try:
            return await asyncio.open_connection(address, self._port)
        except ConnectionRefusedError as error:
            raise _Met(Obstacle.REFUSED, self._said(address, error)) from None
        except OSError as error:
            obstacle = Obstacle.NO_ROUTE if error.errno in _NO_ROUTE else Obstacle.TCP_TIMEOUT
            raise _Met(obstacle, self._said(address, error)) from None

    def _said(self, address: str, error: OSError) -> str:
        """The system's word, and the address that the name stands for."""
        word = os.strerror(error.errno) if error.errno else str(error)
        return word if address == self._host else f"{address}: {word}"

    async def _secure(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """TLS, as far as `sslmode` asks for it."""
        mode = mode_of(self._dsn.parameters)
        if mode in (Mode.DISABLE, Mode.ALLOW):
            return
        writer.write(MAY_I_SPEAK_TLS)
        answer = await reader.readexactly(1)
        if answer == b"S":
            await self._shake_hands(writer)
        elif answer not in (b"N", b"E"):
            raise _Met(Obstacle.NOT_POSTGRESQL, "its first answer is no word of PostgreSQL's protocol")
        elif mode is not Mode.PREFER:
            raise _Met(Obstacle.TLS_REFUSED, f"the server speaks no TLS, and sslmode={mode} asks for it")

    async def _shake_hands(self, writer: asyncio.StreamWriter) -> None:
        try:
            context = context_of(self._dsn.parameters)
        except OSError as error:
            raise _Met(
                Obstacle.TLS_FAILED, f"a certificate of ours cannot be read: {error.strerror}"
            ) from None
        try:
            await writer.start_tls(context, server_hostname=self._host)
        except ssl.SSLCertVerificationError as error:
            raise _Met(Obstacle.CERTIFICATE, error.verify_message) from None
        except ssl.SSLError as error:
            raise _Met(Obstacle.TLS_FAILED, error.reason or "the handshake failed") from None


class _Login:
    """The start-up packet, and what follows until the server is ready or says no."""

    def __init__(
        self, dsn: Dsn, password: str | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._user = dsn.user or ""
        self._database = dsn.database or self._user
        self._password = password
        self._reader = reader
        self._writer = writer
        self._scram: ScramExchange | None = None

    async def run(self) -> None:
        """Until it is ready. A user that only the driver would find is left to it."""
        if not self._user:
            return
        words = {"user": self._user, "database": self._database, "application_name": "pgfleet doctor"}
        body = b"".join(f"{name}\0{value}\0".encode() for name, value in words.items()) + b"\0"
        self._send(b"", struct.pack("!i", PROTOCOL_3_0) + body)
        while (message := await self._receive())[0] != b"Z":
            if message[0] == b"E":
                raise _refusal(message[1])
            if message[0] == b"R" and not self._authenticate(message[1]):
                return
        self._send(b"X", b"")

    def _authenticate(self, body: bytes) -> bool:
        """Answer; False: a way that we do not know."""
        step, said = struct.unpack("!i", body[:4])[0], body[4:]
        if step in (CLEARTEXT, MD5, SASL) and self._password is None:
            raise _Met(
                Obstacle.PASSWORD_MISSING, "the server asks for a password, and the settings hold none"
            )
        password = self._password or ""
        if step == CLEARTEXT:
            self._send(b"p", password.encode() + b"\0")
        elif step == MD5:
            self._send(b"p", _md5(password, self._user, said) + b"\0")
        elif step == SASL:
            return self._begin_scram(password, said)
        elif step == SASL_CONTINUE and self._scram:
            self._send(b"p", self._scram.final(said.decode()))
        else:
            return step == 0 or self._scram is not None
        return True

    def _begin_scram(self, password: str, mechanisms: bytes) -> bool:
        if MECHANISM.encode() not in mechanisms.split(b"\0"):
            return False
        self._scram = ScramExchange(password)
        first = self._scram.first()
        self._send(b"p", f"{MECHANISM}\0".encode() + struct.pack("!i", len(first)) + first)
        return True

    def _send(self, kind: bytes, body: bytes) -> None:
        self._writer.write(kind + struct.pack("!i", len(body) + 4) + body)

    async def _receive(self) -> tuple[bytes, bytes]:
        head = await self._reader.readexactly(5)
        length = struct.unpack("!i", head[1:])[0] - 4
        if not 0 <= length <= LONGEST_MESSAGE_BYTES:
            raise _Met(Obstacle.NOT_POSTGRESQL, "its first answer is no word of PostgreSQL's protocol")
        return head[:1], await self._reader.readexactly(length)


def _refusal(body: bytes) -> _Met:
    """What an ErrorResponse means, by its SQLSTATE."""
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    code = fields.get(b"C", "")
    return _Met(obstacle_of(code), f"{fields.get(b'M', '')} ({code})")


def _md5(password: str, user: str, salt: bytes) -> bytes:
    """PostgreSQL's old way to prove a password."""
    inner = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()
