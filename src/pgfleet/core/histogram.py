"""How long something takes, as a histogram that follows the present."""

from __future__ import annotations

from math import frexp

FASTEST_S = 1e-6
PARTS = 4
"""Buckets for each doubling of the time: a quantile is told up to an eighth too long or too short."""
DOUBLINGS = 30
"""From one microsecond to eighteen minutes; what takes longer counts as that."""
MEMORY = 1024
"""So many times fill the memory; then each counts half, and the next ones count more."""


class Histogram:
    """Times in logarithmic buckets. The older they are the less they count."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts = [0] * (DOUBLINGS * PARTS)
        self.total = 0
        """How many times are remembered."""

    def add(self, spent_s: float) -> None:
        """Remember a time."""
        mantissa, exponent = frexp(max(spent_s, FASTEST_S) / FASTEST_S)
        bucket = (exponent - 1) * PARTS + int((mantissa - 0.5) * 2 * PARTS)
        self._counts[min(bucket, len(self._counts) - 1)] += 1
        self.total += 1
        if self.total >= MEMORY:
            self._counts = [count // 2 for count in self._counts]
            self.total = sum(self._counts)

    def quantile(self, q: float) -> float:
        """The time within which this part of them was done, in seconds; 0.0 when none is remembered."""
        wanted, passed = q * self.total, 0
        for bucket, count in enumerate(self._counts):
            passed += count
            if count and passed >= wanted:
                return _middle_s(bucket)
        return 0.0


def _middle_s(bucket: int) -> float:
    doubling, part = divmod(bucket, PARTS)
    return float(FASTEST_S * 2**doubling * (1 + (part + 0.5) / PARTS))
