"""How stale a replica is, from positions alone: no clock of another host is trusted.

The proof stands in docs/design/staleness.md. In short: every commit visible at moment `s` lies before the insert
position sampled at `s`; and, within PostgreSQL's documented window of three `wal_writer_delay`, before the flush
position sampled that much later. A replica that has replayed either position covers `s`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pgfleet.core.lsn import Lsn, replayable
from pgfleet.core.node import Observation

MAX_SAMPLES = 600
SETTLE_DELAYS = 3
"""Asynchronous commits are flushed within three `wal_writer_delay` (PostgreSQL manual, 28.4 Asynchronous Commit)."""


class Sample(NamedTuple):
    """One look at the primary: when we asked, and what a standby must have replayed to cover that moment."""

    asked_s: float
    insert_lsn: Lsn
    flush_lsn: Lsn
    settle_s: float


class WrittenBy(NamedTuple):
    """Whose positions these are. Positions of another timeline or of another life of the server do not compare."""

    system_id: int
    timeline: int
    incarnation: str


@dataclass(frozen=True, slots=True)
class PrimaryHistory:
    """The recent samples of one life of one primary, oldest first; positions never fall from one to the next."""

    written_by: WrittenBy | None = None
    samples: tuple[Sample, ...] = ()

    def record(self, seen: Observation) -> PrimaryHistory:
        """Add what a probe saw of the primary. Another life of it starts a new history."""
        if seen.timeline is None or seen.insert_lsn is None or seen.flush_lsn is None:
            return self
        written_by = WrittenBy(seen.system_id, seen.timeline, seen.incarnation)
        sample = Sample(
            seen.asked_s,
            replayable(seen.insert_lsn, seen.wal_block_bytes, seen.wal_segment_bytes),
            replayable(seen.flush_lsn, seen.wal_block_bytes, seen.wal_segment_bytes),
            SETTLE_DELAYS * seen.wal_writer_delay_s,
        )
        if written_by != self.written_by:
            return PrimaryHistory(written_by, (sample,))
        return PrimaryHistory(written_by, _append(self.samples, sample))

    @property
    def last_asked_s(self) -> float | None:
        """When the primary was last asked and answered; None before the first sample."""
        return self.samples[-1].asked_s if self.samples else None

    def covered_s(self, replay_lsn: Lsn) -> float | None:
        """The latest moment whose every visible commit lies before `replay_lsn`; None when no sample says so."""
        by_insert = self._last_at_or_before(replay_lsn, _insert_lsn)
        by_flush = self._last_at_or_before(replay_lsn, _flush_lsn)
        moments = []
        if by_insert:
            moments.append(by_insert.asked_s)
        if by_flush:
            moments.append(by_flush.asked_s - by_flush.settle_s)
        return max(moments, default=None)

    def lag_s(self, replay_lsn: Lsn, seen_s: float) -> float | None:
        """How long before `seen_s` the primary flushed `replay_lsn`, interpolated between samples; for people to read.

        A replica behind the oldest sample lags at least as long as we have watched; None before the first sample.
        """
        known = self.samples[: bisect_right(self.samples, seen_s, key=_asked_s)]
        if not known:
            return None
        reached = bisect_right(known, replay_lsn, key=_flush_lsn)
        if reached == len(known):
            return 0.0
        if reached == 0:
            return seen_s - known[0].asked_s
        return max(0.0, seen_s - _flushed_at_s(replay_lsn, known[reached - 1], known[reached]))

    def _last_at_or_before(self, lsn: Lsn, key: Callable[[Sample], Lsn]) -> Sample | None:
        count = bisect_right(self.samples, lsn, key=key)
        return self.samples[count - 1] if count else None


def _append(samples: tuple[Sample, ...], sample: Sample) -> tuple[Sample, ...]:
    """Keep time and positions rising. A later question with an earlier answer is the better sample of the two."""
    if samples and sample.asked_s <= samples[-1].asked_s:
        return samples
    keep = len(samples)
    while keep and (
        samples[keep - 1].insert_lsn > sample.insert_lsn or samples[keep - 1].flush_lsn > sample.flush_lsn
    ):
        keep -= 1
    kept = (*samples[:keep], sample)
    return kept if len(kept) <= MAX_SAMPLES else _thin(kept)


def _thin(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Drop every other sample of the older half: old moments are remembered more coarsely, none is invented."""
    half = len(samples) // 2
    return samples[:half:2] + samples[half:]


def _flushed_at_s(lsn: Lsn, before: Sample, after: Sample) -> float:
    share = (lsn - before.flush_lsn) / (after.flush_lsn - before.flush_lsn)
    return before.asked_s + share * (after.asked_s - before.asked_s)


def _asked_s(sample: Sample) -> float:
    return sample.asked_s


def _insert_lsn(sample: Sample) -> Lsn:
    return sample.insert_lsn


def _flush_lsn(sample: Sample) -> Lsn:
    return sample.flush_lsn
