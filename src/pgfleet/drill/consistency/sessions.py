"""What holds within a session: it sees its own writes, and what it has seen it sees again.

A session has seen a write when a read of it returned that write, and then it has also seen every write of any client
that was acknowledged before that one was sent: these stand before it in the log. One read may go back: that which falls
to the primary while the primary has not shown the commit yet that a replica has replayed already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter

from pgfleet.drill.consistency.history import NO_SESSION, Columns, History, Outcome, Read, Write
from pgfleet.drill.consistency.keys import name_of
from pgfleet.drill.consistency.ledger import Ledger
from pgfleet.drill.consistency.reigns import Reigns
from pgfleet.drill.consistency.verdicts import Verdict


def check_sessions(history: History, by_key: dict[int, Ledger], reigns: Reigns, verdict: Verdict) -> int:
    """Look at each session by itself; how often the primary was overtaken by a replica."""
    overtaken = 0
    for operations in _sessions(history):
        session = _Session(history, by_key, reigns, verdict)
        for operation in operations:
            session.take(operation)
        overtaken += session.overtaken
    return overtaken


def _sessions(history: History) -> Iterator[list[Write | Read]]:
    """The operations of each, in their order."""
    writes, reads = _rows(history.writes), _rows(history.reads)
    for session in writes.keys() | reads.keys():
        operations: list[Write | Read] = [history.write(row) for row in writes.get(session, ())]
        operations += [history.read(row) for row in reads.get(session, ())]
        yield sorted(operations, key=attrgetter("ended_s"))


def _rows(columns: Columns) -> dict[int, list[int]]:
    rows: defaultdict[int, list[int]] = defaultdict(list)
    for row, session in enumerate(columns.session):
        if session != NO_SESSION:
            rows[session].append(row)
    return rows


@dataclass
class _Session:
    """What one has seen so far."""

    history: History
    by_key: dict[int, Ledger]
    reigns: Reigns
    verdict: Verdict
    overtaken: int = 0
    _shown_s: float = -inf
    """All that was acknowledged before this moment has been seen, or stands before what was."""
    _shown_by: Write | Read | None = None
    _seen: dict[int, tuple[int, Write | Read]] = field(default_factory=dict)
    """By key the highest number, and where it was seen."""

    def take(self, operation: Write | Read) -> None:
        """The next."""
        if isinstance(operation, Read):
            self._check(operation)
            self._see(operation.key, operation.state.highest, operation)
        elif operation.outcome is Outcome.DONE:
            self._see(operation.key, operation.number, operation)

    def _see(self, key: int, number: int, operation: Write | Read) -> None:
        if 0 < number <= len(self.by_key[key].rows):
            began_s = self.by_key[key].began(number)
            if began_s > self._shown_s:
                self._shown_s, self._shown_by = began_s, operation
            if number > self._seen.get(key, (0,))[0]:
                self._seen[key] = number, operation

    def _check(self, read: Read) -> None:
        self.verdict.checked += 1
        ledger = self.by_key[read.key]
        seen, where = self._seen.get(read.key, (0, None))
        if seen and not read.state.has(seen) and not ledger.is_lost(seen, read.ended_s):
            if self._is_overtaken(read, self.history.write(ledger.rows[seen - 1])):
                self.overtaken += 1
            else:
                self._tell(read, seen, where)
                return
        before = ledger.last_done(self._shown_s, read.ended_s)
        if before and not read.state.has(before):
            self._tell(read, before, self._shown_by)

    def _is_overtaken(self, read: Read, write: Write) -> bool:
        is_open = write.outcome is Outcome.UNKNOWN or write.ended_s > read.began_s
        return is_open and read.node == self.reigns.primary(read.ended_s)

    def _tell(self, read: Read, number: int, where: Write | Read | None) -> None:
        write = self.history.write(self.by_key[read.key].rows[number - 1])
        proof = [write, read] if where is None or where == write else [write, where, read]
        what = f"{name_of(read.key)} was read without {number}, which its session had before it"
        self.verdict.add(what, *proof)
