"""What one unit of work has written and seen: the least that its next read must see."""

from __future__ import annotations

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
    """The writes and reads of one unit of work, in one process, from any of its tasks and threads."""

    def __init__(
        self, lock: AbstractContextManager[Any], after: Watermark | None = None, outer: Session | None = None
    ) -> None:
        self.after = after
        """What it must see from the beginning."""
        self.wrote = False
        """Whether a write has begun in it."""
        self.ended = False
        self._outer = outer
        self._lock = lock
        self._open = 0
        self._mark_s = 0.0
        self._at: At | None = None

    # writes

    def begin_write(self) -> None:
        """A write lease opens."""
        with self._lock:
            self.wrote = True
            self._open += 1
        if self._outer:
            self._outer.begin_write()

    def end_write(self, mark_s: float) -> None:
        """That lease has ended, however it ended."""
        with self._lock:
            self._open -= 1
            self._mark_s = max(self._mark_s, mark_s)
        if self._outer:
            self._outer.end_write(mark_s)

    @property
    def last_write_s(self) -> float:
        """The moment that a read must see; 0.0: nothing was written; infinity: something is being written now."""
        return inf if self._open else self._mark_s

    def forgive(self, mark_s: float) -> None:
        """What was written before this moment is lost, and the caller was told."""
        with self._lock:
            self._mark_s = max(self._mark_s, mark_s)

    # reads

    def seat(self, now_s: float) -> Seat | None:
        """Where it has read; None: nowhere."""
        return None if self._at is None else Seat(*self._at, now_s)

    def sit(self, before: Seat | None, at: At) -> None:
        """A read shows what is at this server. It was to show no less than `before`.

        One that ends elsewhere than where the session has gone meanwhile leaves it with what two servers have shown.
        """
        came_from = None if before is None else before.at
        with self._lock:
            if self._at != at:
                self._at = at if self._at == came_from else EVERYWHERE
        if self._outer:
            self._outer.sit(before, at)
