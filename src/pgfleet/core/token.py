"""A watermark that travels: signed, so that nobody but us can name a position, and short enough for a cookie.

A version byte, 8 bytes that stand for the system identifier, the timeline (4), the LSN (8), when it was issued (4), and
16 bytes of HMAC-SHA256 over all before them: 41 bytes, in base64url without padding.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest, digest
from struct import Struct
from typing import Final

from pgfleet.core.lsn import Lsn
from pgfleet.core.position import Watermark

VERSION: Final = 1
MAC_BYTES: Final = 16
TOKEN_CHARS: Final = 55

_BODY: Final = Struct(">BQIQI")
_SPELLING: Final = re.compile(f"[A-Za-z0-9_-]{{{TOKEN_CHARS}}}")


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says, once its signature was found good."""

    system_hash: int
    """`system_hash` of its cluster's identifier."""
    timeline: int
    lsn: Lsn
    issued_s: int
    """Seconds since 1970 on the clock of the process that issued it: to look at, never to decide by."""


def system_hash(system_id: int) -> int:
    """What stands in a token for a system identifier: 64 bits that do not tell it to whoever holds the token."""
    return int.from_bytes(sha256(b"%d" % system_id).digest()[:8], "big")


def encode(watermark: Watermark, issued_s: int, secrets: Sequence[bytes]) -> str:
    """The token of a watermark, signed by the first secret: 55 letters, digits, `-` and `_`.

    Raises ValueError without a secret.
    """
    if not secrets:
        raise ValueError("a token cannot be signed without a secret")
    body = _BODY.pack(VERSION, system_hash(watermark.system_id), watermark.timeline, watermark.lsn, issued_s)
    return _text(body + _mac(body, secrets[0]))


def decode(text: str, secrets: Sequence[bytes]) -> Token | None:
    """What a token says; None unless any of the secrets has signed it. Never raises, whatever the text."""
    raw = _raw(text)
    if raw is None:
        return None
    body, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
    version, *fields = _BODY.unpack(body)
    return Token(*fields) if _is_signed(body, mac, secrets) and version == VERSION else None


def _is_signed(body: bytes, mac: bytes, secrets: Sequence[bytes]) -> bool:
    """Looks at every secret, so that the time it takes does not tell which one fits."""
    fits = [compare_digest(_mac(body, secret), mac) for secret in secrets]
    return any(fits)


def _mac(body: bytes, secret: bytes) -> bytes:
    return digest(secret, body, "sha256")[:MAC_BYTES]


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw(text: str) -> bytes | None:
    """The bytes of a text that could be a token. Its length is looked at before anything else is done with it."""
    if len(text) != TOKEN_CHARS or not _SPELLING.fullmatch(text):
        return None
    raw = urlsafe_b64decode(text + "=")
    # The last character has two bits too many: of its four spellings one is ours.
    return raw if _text(raw) == text else None
