"""When each org last wrote, in a fixed amount of memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable
from math import inf

SLOTS = 1 << 20
"""Eight mebibytes, allocated at the first write of an org. Orgs that share a slot share the later of their marks."""


class WriteMarks:
    """The moment of each org's last write, on our monotonic clock: a slot an org, so it can only be too careful.

    A write counts as happening now from the moment its lease opens until it ends, however it ends.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = slots
        self._marks: array[float] | None = None
        self._open: Counter[int] = Counter()

    def begin(self, org_id: Hashable) -> int:
        """A write lease of this org opens. Returns the slot to end it with."""
        slot = hash(org_id) % self._slots
        if self._marks is None:
            self._marks = array("d", bytes(8 * self._slots))
        self._open[slot] += 1
        return slot

    def end(self, slot: int, mark_s: float) -> None:
        """The write lease has ended: committed, rolled back, cancelled or of unknown outcome."""
        assert self._marks is not None
        self._marks[slot] = max(mark_s, self._marks[slot])
        self._open[slot] -= 1
        if not self._open[slot]:
            del self._open[slot]

    def last_write_s(self, org_id: Hashable) -> float:
        """The moment that a read of this org must see; 0.0: it never wrote; infinity: it is writing now."""
        if self._marks is None:
            return 0.0
        slot = hash(org_id) % self._slots
        return inf if slot in self._open else self._marks[slot]
