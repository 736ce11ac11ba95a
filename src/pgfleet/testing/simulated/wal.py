"""The write-ahead log as a tree: each record knows the one before it, and a timeline is a way from a leaf to the root.

A record also carries what a server knows of transactions once it has replayed it, so that a server's whole state is
the record at which it stands.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from pgfleet.core.lsn import LONG_PAGE_HEADER_BYTES, SHORT_PAGE_HEADER_BYTES, Lsn

BLOCK_BYTES = 8192
SEGMENT_BYTES = 16 << 20


class Kind(StrEnum):
    """What a record says."""

    DATA = "data"
    COMMIT = "commit"
    ABORT = "abort"
    CHECKPOINT = "checkpoint"
    """Of a recovery that has ended: no transaction of before runs any more."""
    SWITCH = "switch"
    """The rest of the segment is left empty."""


@dataclass(slots=True, eq=False)
class Record:
    """One record, its end, and the state of whoever has replayed it."""

    before: Record | None
    depth: int
    kind: Kind
    timeline: int
    end: Lsn
    written_s: float
    key: Hashable = None
    """Of a commit: what was written."""
    visible_s: float = inf
    """Of a commit: when it became visible where it was made; infinity: not yet."""
    running: frozenset[int] = frozenset()
    """Transactions that have written something and not ended."""
    next_xid: int = 3
    completed_xid: int = 2
    """The highest transaction that has ended."""
    checkpoint: int = 0

    @classmethod
    def first(cls, written_s: float) -> Record:
        """That of initdb."""
        return cls(None, 0, Kind.CHECKPOINT, 1, Lsn(SEGMENT_BYTES + 100), written_s)

    def append(
        self, kind: Kind, timeline: int, written_s: float, size: int, xid: int = 0, key: Hashable = None
    ) -> Record:
        """The next record of a log that ends here."""
        next_xid, completed, running = max(self.next_xid, xid + 1), self.completed_xid, self.running
        if kind is Kind.DATA:
            running |= {xid}
        elif kind is Kind.CHECKPOINT:
            completed, running = next_xid - 1, frozenset()
        elif kind is not Kind.SWITCH:
            completed, running = max(completed, xid), running - {xid}
        end = _next_segment(self.end) if kind is Kind.SWITCH else _end(self.end + size)
        checkpoint: int = end if kind is Kind.CHECKPOINT else self.checkpoint
        return Record(
            self, self.depth + 1, kind, timeline, end, written_s, key, inf, running, next_xid, completed, checkpoint
        )  # fmt: skip

    def is_in(self, log: Record) -> bool:
        """Whether a log that ends at `log` contains this record."""
        while log.depth > self.depth and log.before:
            log = log.before
        return log is self

    def lacks(self, log: Record) -> Iterator[Record]:
        """The records of `log` that whoever stands here has not replayed, the last first."""
        here = self
        while here is not log:
            if here.depth > log.depth:
                assert here.before
                here = here.before
                continue
            yield log
            assert log.before
            log = log.before

    def snapshot(self, running: frozenset[int] | None = None) -> str:
        """`txid_current_snapshot()` of whoever stands here; a primary knows better than its log what is `running`."""
        xmax = self.completed_xid + 1
        pending = sorted(xid for xid in (self.running if running is None else running) if xid < xmax)
        return f"{pending[0] if pending else xmax}:{xmax}:{','.join(map(str, pending))}"


def insert_position(end: Lsn) -> Lsn:
    """Where the next record would go: behind the header of a page on which nothing is written yet."""
    if end % BLOCK_BYTES:
        return end
    return Lsn(end + (SHORT_PAGE_HEADER_BYTES if end % SEGMENT_BYTES else LONG_PAGE_HEADER_BYTES))


def _end(position: int) -> Lsn:
    """No record ends inside of a page's header."""
    inside = position % BLOCK_BYTES
    return Lsn(position + LONG_PAGE_HEADER_BYTES if inside <= LONG_PAGE_HEADER_BYTES else position)


def _next_segment(position: int) -> Lsn:
    return Lsn((position // SEGMENT_BYTES + 1) * SEGMENT_BYTES)
