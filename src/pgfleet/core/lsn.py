"""Log sequence numbers as integers, and the one place where two of them mean the same position."""

from __future__ import annotations

import re
from typing import NewType

Lsn = NewType("Lsn", int)
"""A position in the write-ahead log, in bytes. `16/B374D848` is `0x16_B374D848`."""

SHORT_PAGE_HEADER_BYTES = 24
"""`SizeOfXLogShortPHD`: the header of every WAL page but a segment's first (PostgreSQL, xlog_internal.h)."""

LONG_PAGE_HEADER_BYTES = 40
"""`SizeOfXLogLongPHD`: the header of the first page of a segment."""

_SPELLING = re.compile("[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")


def parse_lsn(text: str) -> Lsn:
    """Read `XXXXXXXX/XXXXXXXX` as PostgreSQL prints it. Raises ValueError on anything else."""
    if not _SPELLING.fullmatch(text):
        raise ValueError(f"not an LSN: {text!r}")
    high, low = text.split("/")
    return Lsn(int(high, 16) << 32 | int(low, 16))


def format_lsn(lsn: Lsn) -> str:
    """Write an LSN as PostgreSQL prints it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def replayable(insert_lsn: Lsn, block_bytes: int | None, segment_bytes: int | None) -> Lsn:
    """The position that a standby must have replayed to hold all that was inserted before `insert_lsn`.

    After a WAL switch the insert position stands behind the header of a page on which nothing is written yet, a place
    no standby reaches until something is. Within a header, the page's start is therefore the same position. Sizes that
    are not known collapse nothing: that can only be too careful.
    """
    if not block_bytes or not segment_bytes:
        return insert_lsn
    in_page = insert_lsn % block_bytes
    first_page = insert_lsn % segment_bytes < block_bytes
    header_bytes = LONG_PAGE_HEADER_BYTES if first_page else SHORT_PAGE_HEADER_BYTES
    return Lsn(insert_lsn - in_page) if in_page <= header_bytes else insert_lsn
