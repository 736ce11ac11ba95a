"""What one unit of work has written and seen: the least that its next read must see."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from math import inf
from typing import Any

from pgfleet.core.intent import Seat
from pgfleet.core.position import Watermark

At = tuple[str, str]
"""A node's name and the life of its server."""

EVERYWHERE: At = ("", "")
"""Several servers were read, none of which is known to show what all of them have shown."""


class Session:
    """The writes and reads of one unit of work, in one process, from any of its tasks and threads.

    A session within another one is a part of that unit: it knows what the outer one knows, and the other way round.
    """

    def __init__(
        self, lock: AbstractContextManager[Any], after: Watermark | None = None, outer: Session | None = None
    ) -> None:
        self.after = after
        """What it must see from the beginning."""
        self.wrote = False
        """Whether a write has begun in it."""
        self.ended = False
        self._outer = outer
        self._deeds: _Deeds = outer._deeds if outer else _Deeds(lock)

    @property
    def unit(self) -> object:
        """Whose writes and reads these are: of two sessions, one within the other, the same."""
        return self._deeds

    # writes

    def begin_write(self) -> None:
        """A write lease opens."""
        session: Session | None = self
        while session:
            session.wrote, session = True, session._outer
        self._deeds.begin_write()

    def end_write(self, mark_s: float) -> None:
        """That lease has ended, however it ended."""
        self._deeds.end_write(mark_s)

    @property
    def last_write_s(self) -> float:
        """The moment that a read must see; 0.0: nothing was written; infinity: something is being written now."""
        return self._deeds.last_write_s

    # reads

    def seat(self, now_s: float) -> Seat | None:
        """Where it has read; None: nowhere."""
        return self._deeds.seat(now_s)

    def sight(self, before: Seat | None, at: At) -> Sight:
        """A read of this server, that was to show no less than `before`."""
        return Sight(self._deeds, before, at)


class Sight:
    """One read of a session, at one server."""

    __slots__ = ("_at", "_before", "_deeds", "_open")

    def __init__(self, deeds: _Deeds, before: Seat | None, at: At) -> None:
        self._deeds = deeds
        self._before = before
        self._at = at
        self._open = 0

    def begin(self) -> None:
        """From now on, until it ends, it shows what is at its server."""
        self._open = 1
        self._deeds.sit(self._before, self._at, 1)

    def end(self) -> None:
        """It has ended: what was at its server by now may have been seen."""
        self._deeds.sit(self._before, self._at, -self._open)

    def drop(self) -> None:
        """It has ended, and nothing more of it was seen."""
        if self._open:
            self._deeds.leave(self._at)


class _Deeds:
    """What a unit of work has done."""

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._lock = lock
        self._writing = 0
        self._mark_s = 0.0
        self._at: At | None = None
        self._sights = 0
        """How often something may have been seen."""
        self._reading: Counter[At] = Counter()
        """Where reads are still open."""

    def begin_write(self) -> None:
        with self._lock:
            self._writing += 1

    def end_write(self, mark_s: float) -> None:
        with self._lock:
            # The mark first: whoever looks without the lock finds one or the other.
            self._mark_s = max(self._mark_s, mark_s)
            self._writing -= 1

    @property
    def last_write_s(self) -> float:
        return inf if self._writing else self._mark_s

    def seat(self, now_s: float) -> Seat | None:
        with self._lock:
            if self._at is None:
                return None
            is_here = not self._reading or set(self._reading) == {self._at}
            return Seat(*(self._at if is_here else EVERYWHERE), now_s, self._sights)

    def sit(self, before: Seat | None, at: At, opens: int) -> None:
        """A read shows what is at this server. It was to show no less than `before`.

        It takes the unit of work along if nothing was seen since `before`. Else several servers have shown something.
        """
        with self._lock:
            if self._at != at:
                is_first = self._sights == (before.sights if before else 0)
                self._at = at if is_first else EVERYWHERE
            self._sights += 1
            self._count(at, opens)

    def leave(self, at: At) -> None:
        with self._lock:
            self._count(at, -1)

    def _count(self, at: At, opens: int) -> None:
        if opens:
            self._reading[at] += opens
            if not self._reading[at]:
                del self._reading[at]
