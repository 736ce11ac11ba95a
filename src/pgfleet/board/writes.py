"""Who has written when, and whose writes a promotion may have lost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from pgfleet.board.session import Session
from pgfleet.core.lineage import Fork
from pgfleet.core.marks import WriteMarks
from pgfleet.ports import Runtime

MOST_TOLD = 65_536
"""Holders of lost writes who were told: beyond, the one told first would be told again."""


class Write(NamedTuple):
    """One that has begun."""

    slot: int | None
    """The org's."""
    session: Session | None


class Writes:
    """The writes of this process: what a read of an org, or of a session, must see."""

    def __init__(self, runtime: Runtime) -> None:
        self.marks = WriteMarks()
        self._clock = runtime.clock
        self._lock = runtime.lock()
        self._told: OrderedDict[Hashable, None] = OrderedDict()

    def begin(self, org_id: Hashable, session: Session | None) -> Write:
        """A write lease opens: from now until it ends, its org and its session count as writing."""
        slot = None
        if org_id is not None:
            with self._lock:
                slot = self.marks.begin(org_id)
        if session:
            session.begin_write()
        return Write(slot, session)

    def end(self, write: Write, lost_in: Fork | None = None) -> None:
        """It has ended, however it ended. `lost_in`: it was acknowledged by a server that was replaced meanwhile."""
        mark_s = self._clock() if lost_in is None else lost_in.until_s
        if write.slot is not None:
            with self._lock:
                self.marks.end(write.slot, mark_s)
        if write.session:
            write.session.end_write(mark_s)

    def is_news(self, loss: Hashable) -> bool:
        """Whether the holder of this loss was not told of it yet; now he is."""
        with self._lock:
            if loss in self._told:
                return False
            self._told[loss] = None
            if len(self._told) > MOST_TOLD:
                self._told.popitem(last=False)
            return True
