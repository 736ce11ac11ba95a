"""SCRAM-SHA-256 as PostgreSQL speaks it (RFC 5802, RFC 7677): the client's side, and the verifier a server stores."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets

ITERATIONS = 4096
MECHANISM = "SCRAM-SHA-256"


def scram_verifier(password: str) -> str:
    """What `CREATE ROLE ... PASSWORD` takes instead of the password, so that no statement or log ever holds it."""
    salt = secrets.token_bytes(16)
    salted = _salted(password, salt, ITERATIONS)
    stored = hashlib.sha256(_keyed(salted, b"Client Key")).digest()
    return f"{MECHANISM}${ITERATIONS}:{_text(salt)}${_text(stored)}:{_text(_keyed(salted, b'Server Key'))}"


def is_password_of(password: str, verifier: str) -> bool:
    """Whether a verifier was made of this password."""
    found = re.fullmatch(rf"{MECHANISM}\$(\d+):([^$]+)\$([^:]+):.*", verifier)
    if not found:
        return False
    salted = _salted(password, base64.b64decode(found[2]), int(found[1]))
    stored = hashlib.sha256(_keyed(salted, b"Client Key")).digest()
    return hmac.compare_digest(_text(stored), found[3])


class ScramExchange:
    """One authentication: `first()`, then `final()` of the server's first message, then `accepts()` of its last."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._bare = f"n=,r={secrets.token_urlsafe(18)}"
        self._server_signature = b""

    def first(self) -> bytes:
        """The client's first message."""
        return f"n,,{self._bare}".encode()

    def final(self, server_first: str) -> bytes:
        """The client's proof that it knows the password."""
        fields = dict(part.split("=", 1) for part in server_first.split(","))
        salted = _salted(self._password, base64.b64decode(fields["s"]), int(fields["i"]))
        unproven = f"c=biws,r={fields['r']}"
        signed = f"{self._bare},{server_first},{unproven}".encode()
        client_key = _keyed(salted, b"Client Key")
        signature = _keyed(hashlib.sha256(client_key).digest(), signed)
        proof = bytes(left ^ right for left, right in zip(client_key, signature, strict=True))
        self._server_signature = _keyed(_keyed(salted, b"Server Key"), signed)
        return f"{unproven},p={_text(proof)}".encode()

    def accepts(self, server_final: str) -> bool:
        """Whether the server has proven that it knows the password too."""
        return hmac.compare_digest(server_final, f"v={_text(self._server_signature)}")


def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def _keyed(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
