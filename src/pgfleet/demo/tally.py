"""What the users of the example noticed: counted, and timed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice

KEPT_LATENCIES = 100_000
RECENT = 1_000


@dataclass(slots=True)
class Timings:
    """How many were done, how many failed, and how long the latest took."""

    done: int = 0
    failed: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_LATENCIES))

    def add(self, latency_ms: float) -> None:
        """One was done."""
        self.done += 1
        self.latencies_ms.append(latency_ms)

    def percentiles_ms(self, of_latest: int = KEPT_LATENCIES) -> tuple[float, float] | None:
        """The median and the 95th percentile of the latest; None before the first."""
        ordered = sorted(islice(reversed(self.latencies_ms), of_latest))
        if not ordered:
            return None
        return ordered[len(ordered) // 2], ordered[len(ordered) * 95 // 100]


@dataclass(slots=True)
class Tally:
    """The counts of one run."""

    reads: Timings = field(default_factory=Timings)
    writes: Timings = field(default_factory=Timings)
    read_back: int = 0
    """Bookings that their organisation read at once after it had made them."""
    stale: int = 0
    """Of these, the ones that were not there."""
    last_error: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether every read was answered, and none of them stale."""
        return self.reads.failed == 0 and self.stale == 0
