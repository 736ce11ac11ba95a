"""How stale a replica is, from positions alone: no clock of another host is trusted.

The proof stands in docs/design/staleness.md. In short: every commit visible at moment `s` lies before the insert
position sampled at `s`; and, within PostgreSQL's documented window of three `wal_writer_delay`, before the flush
position sampled that much later. A replica that has replayed either position covers `s`; and, as long as no transaction
has finished since, every later moment too.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from pgfleet.core.lsn import Lsn, replayable
from pgfleet.core.node import Observation
from pgfleet.core.position import Watermark

MAX_SAMPLES = 600
SETTLE_DELAYS = 3
"""Asynchronous commits are flushed within three `wal_writer_delay` (PostgreSQL manual, 28.4 Asynchronous Commit)."""


class Sample(NamedTuple):
    """One look at the primary: when we asked, and what a standby must have replayed to cover that moment."""

    asked_s: float
    insert_lsn: Lsn
    flush_lsn: Lsn
    settle_s: float
    answered_s: float
    xmax: int
    """0: not known."""
    finished: str | None


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
            seen.answered_s,
            seen.xmax or 0,
            seen.finished,
        )
        if written_by != self.written_by:
            return PrimaryHistory(written_by, (sample,))
        return PrimaryHistory(written_by, _append(self.samples, sample))

    def watermark(self, moment_s: float) -> Watermark | None:
        """Before which position all lies that was visible at this moment; None: nobody has asked since."""
        asked = bisect_right(self.samples, moment_s, key=_asked_s)
        if self.written_by is None or asked == len(self.samples):
            return None
        return Watermark(self.written_by.system_id, self.written_by.timeline, self.samples[asked].insert_lsn)

    @property
    def last_asked_s(self) -> float | None:
        """When the primary was last asked and answered; None before the first sample."""
        return self.samples[-1].asked_s if self.samples else None

    def covered_s(self, replay_lsn: Lsn, xmin: int | None = None) -> float | None:
        """The latest moment whose every visible commit a standby has replayed; None when no sample says so.

        It stands at `replay_lsn`, and knows that every transaction before `xmin` has finished.
        """
        inserted = bisect_right(self.samples, replay_lsn, key=_insert_lsn)
        flushed = bisect_right(self.samples, replay_lsn, key=_flush_lsn)
        moments = [self._quiet_until_s(inserted - 1)] if inserted else []
        if (known := self._known_finished(self.samples, xmin)) is not None:
            moments.append(self._quiet_until_s(known))
        if flushed:
            settled_s = self.samples[flushed - 1].asked_s - self.samples[flushed - 1].settle_s
            before = self._last_answered_by(settled_s, flushed)
            moments += [settled_s] if before is None else [settled_s, self._quiet_until_s(before)]
        return max(moments, default=None)

    def lag_s(self, replay_lsn: Lsn, seen_s: float, xmin: int | None = None) -> float | None:
        """How long before `seen_s` the primary flushed `replay_lsn`, interpolated between samples; for people to read.

        None of it counts while no transaction has finished since: what was flushed is then part of an open one.
        A replica behind the oldest sample lags at least as long as we have watched; None before the first sample.
        """
        known = self.samples[: bisect_right(self.samples, seen_s, key=_asked_s)]
        if not known:
            return None
        reached = bisect_right(known, replay_lsn, key=_flush_lsn)
        if reached == len(known) or self._known_finished(known, xmin) == len(known) - 1:
            return 0.0
        if reached == 0:
            return seen_s - known[0].asked_s
        if known[-1].finished is not None and known[-1].finished == known[reached - 1].finished:
            return 0.0
        return max(0.0, seen_s - _flushed_at_s(replay_lsn, known[reached - 1], known[reached]))

    @staticmethod
    def _known_finished(samples: tuple[Sample, ...], xmin: int | None) -> int | None:
        """The last sample in which nothing had finished but what this standby knows to have."""
        count = bisect_right(samples, xmin or 0, key=_xmax)
        return count - 1 if count and xmin and 0 < samples[count - 1].xmax <= xmin else None

    def _last_answered_by(self, moment_s: float, count: int) -> int | None:
        """Of the first `count` samples the last that was answered by then: what it saw finished was visible then."""
        return next((i for i in reversed(range(count)) if self.samples[i].answered_s <= moment_s), None)

    def _quiet_until_s(self, index: int) -> float:
        """The latest sample up to which no transaction has finished since this one: who covers this, covers that."""
        finished = self.samples[index].finished
        while (
            finished is not None
            and index + 1 < len(self.samples)
            and self.samples[index + 1].finished == finished
        ):
            index += 1
        return self.samples[index].asked_s


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


def _xmax(sample: Sample) -> int:
    return sample.xmax


def _insert_lsn(sample: Sample) -> Lsn:
    return sample.insert_lsn


def _flush_lsn(sample: Sample) -> Lsn:
    return sample.flush_lsn
