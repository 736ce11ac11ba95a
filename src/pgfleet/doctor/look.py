"""One server: asked on a connection of its own, in read-only transactions, until its time is over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from pgfleet.core.diagnosis import questions
from pgfleet.core.diagnosis.question import NEWEST, Question, read_rows
from pgfleet.core.diagnosis.rows import (
    Archiver,
    Disk,
    Origin,
    Positions,
    Prepared,
    Receiver,
    Sample,
    Sender,
    Server,
    Session,
    Setting,
    Slot,
    Use,
    Wal,
)
from pgfleet.core.diagnosis.snapshot import LOST, NO_ANSWER, Facts, Unseen
from pgfleet.faults import first_line
from pgfleet.ports import Connector

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]

AGAIN = "its positions for a second time, without which lag and rates are unknown"
"""What is not seen when the second look fails."""


@dataclass
class Look:
    """What one server has said so far. It stays when the server falls silent."""

    connector: Connector[Any]
    conn: Any
    clock: Callable[[], float] = time.time
    """Our wall clock, against which the server's is held."""
    server: Server | None = None
    samples: list[Sample] = field(default_factory=list)
    answers: dict[str, Rows] = field(default_factory=dict)
    unseen: dict[str, str] = field(default_factory=dict)
    disk: Disk | None = None

    async def begin(self) -> None:
        """Ask what it is, and where it stands. Raises the driver's error."""
        await self.connector.execute(self.conn, questions.SESSION_SQL, ())
        (row,) = await self._ask(questions.SERVER, NEWEST)
        self.server = Server(**row)
        await self.sample()
        self.unseen[AGAIN] = NO_ANSWER

    async def ask_once(self) -> None:
        """Ask all that is asked once. What is refused is noted, and the next is asked."""
        assert self.server is not None
        for question in _fitting(self.server):
            self.unseen[question.name] = NO_ANSWER
        for question in _fitting(self.server):
            rows = await self._try(question, self.server.major)
            if rows is not None:
                self.answers[question.name] = rows
                del self.unseen[question.name]
        self.disk = _disk(self.server, self.answers.get(questions.SETTINGS.name, ()))

    async def ask_again(self) -> None:
        """Look at its positions a second time."""
        await self.sample()
        del self.unseen[AGAIN]

    def lose(self, why: str) -> None:
        """The connection is lost: that is why what was not answered yet never will be."""
        self.unseen.update(
            {what: f"{LOST}: {why}" for what, said in self.unseen.items() if said == NO_ANSWER}
        )

    async def sample(self) -> None:
        """Look at its positions."""
        assert self.server is not None
        if self.server.is_aurora:
            await self._sample_of_aurora()
            return
        major, asked_s = self.server.major, self.clock()
        (positions,) = await self._ask(questions.POSITIONS, major)
        answered_s = self.clock()
        senders = await self._try(questions.SENDERS, major) or ()
        receivers = await self._try(questions.RECEIVER, major) or ()
        conflicts = await self._try(questions.CONFLICTS, major) or ({"conflicts": None},)
        self.samples.append(
            Sample(
                asked_s,
                answered_s,
                Positions(**positions),
                tuple(Sender(**row) for row in senders),
                next((Receiver(**row) for row in receivers), None),
                conflicts[0]["conflicts"],
            )
        )

    async def _sample_of_aurora(self) -> None:
        asked_s = self.clock()
        (clock_s,) = await self.connector.one_row(
            self.conn, "select extract(epoch from clock_timestamp())::float8"
        )
        positions = Positions(clock_s, None, None, None, None, None, None)
        self.samples.append(Sample(asked_s, self.clock(), positions))

    def facts(self) -> Facts | None:
        """What was seen; None: not even what it is, and where it stands."""
        if self.server is None or not self.samples:
            return None
        settings = {row["name"]: Setting(**row) for row in self._rows(questions.SETTINGS)}
        return Facts(
            self.server,
            self.samples[0],
            self.samples[-1],
            MappingProxyType(settings),
            slots=self._all(questions.SLOTS, Slot),
            origin=self._one(questions.ORIGIN, Origin),
            sessions=self._all(questions.SESSIONS, Session),
            prepared=self._all(questions.PREPARED, Prepared),
            use=self._one(questions.USE, Use),
            archiver=self._one(questions.ARCHIVER, Archiver),
            wal=self._one(questions.WAL, Wal),
            disk=self.disk,
        )

    def not_seen(self) -> tuple[Unseen, ...]:
        """The questions without an answer."""
        return tuple(Unseen(what, why) for what, why in self.unseen.items())

    def _rows(self, question: Question) -> Rows:
        return self.answers.get(question.name, ())

    def _all(self, question: Question, kind: Callable[..., T]) -> tuple[T, ...]:
        return tuple(kind(**row) for row in self._rows(question))

    def _one(self, question: Question, kind: Callable[..., T]) -> T | None:
        return next(iter(self._all(question, kind)), None)

    async def _ask(self, question: Question, major: int) -> Rows:
        row = await self.connector.one_row(self.conn, question.sql(major))
        return read_rows(row[0])

    async def _try(self, question: Question, major: int) -> Rows | None:
        """The rows, or None when the server refuses. Raises when the connection is lost."""
        try:
            return await self._ask(question, major)
        except Exception as error:
            fault = self.connector.fault(error)
            if fault is None or not fault.sqlstate or fault.lost:
                raise
            self.unseen[question.name] = first_line(error)
            return None


def _fitting(server: Server) -> list[Question]:
    """The questions that this role may ask this server. Of Aurora only those that mean something there."""
    if server.is_aurora:
        return [questions.SETTINGS, questions.USE]
    return [question for question in questions.ONCE if not question.needs or getattr(server, question.needs)]


def _disk(server: Server, settings: Rows) -> Disk | None:
    """The file system of its data directory, when the server is on this host and tells where that is."""
    directory = next((row["setting"] for row in settings if row["name"] == "data_directory"), None)
    if not server.on_this_host or not directory:
        return None
    try:
        stat = os.statvfs(directory)
    except OSError:
        return None
    return Disk(directory, stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize)
