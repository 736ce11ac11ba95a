from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgfleet.core.lsn import Lsn
from pgfleet.core.node import Observation
from pgfleet.core.staleness import MAX_SAMPLES, SETTLE_DELAYS, PrimaryHistory
from tests.examples import examples
from tests.unit.core.observations import DELAY_S, SETTLE_S, saw_primary

# A simulated primary, as PostgreSQL writes its log, with small pages and segments so that their edges are met often.

BLOCK, SEGMENT, SHORT, LONG = 256, 1024, 24, 40
IN_PAGE = BLOCK - SHORT
IN_SEGMENT = SEGMENT - LONG - (SEGMENT // BLOCK - 1) * SHORT


def start_lsn(bytes_written: int) -> int:
    """Where the next record begins (XLogBytePosToRecPtr): behind the header when a page has just been filled."""
    segments, left = divmod(bytes_written, IN_SEGMENT)
    if left < BLOCK - LONG:
        return segments * SEGMENT + left + LONG
    pages, left = divmod(left - (BLOCK - LONG), IN_PAGE)
    return segments * SEGMENT + (1 + pages) * BLOCK + left + SHORT


def end_lsn(bytes_written: int) -> int:
    """Where the last record ended (XLogBytePosToEndRecPtr): before that header."""
    at = start_lsn(bytes_written)
    if bytes_written % IN_SEGMENT == 0:
        return at - LONG
    return at - SHORT if at % BLOCK == SHORT and at % SEGMENT > BLOCK else at


@dataclass
class Commit:
    end: int
    """In bytes written, without headers."""
    visible_s: float


@dataclass
class Primary:
    """What a primary writes and shows, and what its standbys can have replayed."""

    now_s: float = 100.0
    inserted: int = 0
    flushed: int = 0
    life: int = 1
    crashes: int = 0
    commits: list[Commit] = field(default_factory=list)
    ends: list[int] = field(default_factory=lambda: [0])
    owed: list[tuple[float, int]] = field(default_factory=list)
    """Asynchronous commits: flushed by this moment at the latest, up to here."""

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        for due_s, end in self.owed:
            if due_s <= self.now_s:
                self.flushed = max(self.flushed, end)
        self.owed = [(due_s, end) for due_s, end in self.owed if due_s > self.now_s]

    def write(self, size: int) -> None:
        """A record of an open transaction: nobody is in a hurry to flush it."""
        self.inserted += 8 * size
        self.ends.append(self.inserted)

    def commit(self, size: int, *, asynchronous: bool) -> None:
        self.write(size)
        if asynchronous:
            self.owed.append((self.now_s + SETTLE_S, self.inserted))
        else:
            self.flushed = self.inserted
        self.commits.append(Commit(self.inserted, self.now_s))

    def flush(self, share: float) -> None:
        self.flushed += int((self.inserted - self.flushed) * share)

    def switch_wal(self) -> None:
        self.inserted = self.flushed = -(-self.inserted // IN_SEGMENT) * IN_SEGMENT
        self.ends.append(self.inserted)

    def crash(self, *, same_postmaster: bool) -> None:
        """Lose what was not flushed; recovery ends at the last whole record."""
        self.inserted = self.flushed = max(end for end in self.ends if end <= self.flushed)
        self.ends = [end for end in self.ends if end <= self.flushed]
        self.commits = [commit for commit in self.commits if commit.end <= self.flushed]
        self.owed = []
        self.crashes += 1
        self.life += not same_postmaster

    def look(self, asked_s: float, answered_s: float) -> Observation:
        return saw_primary(
            asked_s,
            start_lsn(self.inserted),
            end_lsn(self.flushed),
            answered_s=answered_s,
            incarnation=str(self.life),
            finished=f"{len(self.commits)}@{self.crashes}",
            xmax=1 + len(self.commits),
            wal_block_bytes=BLOCK,
            wal_segment_bytes=SEGMENT,
        )

    def known_finished(self, replayed: int) -> int:
        """The first transaction of which a standby at this position does not know that it has finished."""
        return 1 + sum(commit.end <= replayed for commit in self.commits)

    def oldest_missing_s(self, replayed: int) -> float:
        """When the oldest commit became visible here that a standby at this position does not show."""
        return min((commit.visible_s for commit in self.commits if commit.end > replayed), default=inf)


sizes = st.integers(1, 16)
delays = st.sampled_from((0.0, 0.01, 0.1, SETTLE_S - 0.05, SETTLE_S, 1.0))
steps = st.one_of(
    st.tuples(st.just("wait"), delays),
    st.tuples(st.just("sync"), sizes),
    st.tuples(st.just("async"), sizes),
    st.tuples(st.just("write"), sizes),
    st.tuples(st.just("flush"), st.floats(0, 1)),
    st.tuples(st.just("switch"), st.none()),
    st.tuples(st.just("crash"), st.booleans()),
    st.tuples(st.just("ask"), st.none()),
    st.tuples(st.just("look"), st.integers(0, 3)),
    st.tuples(st.just("answer"), st.integers(0, 3)),
)


class Watch:
    """Asks the primary, reads its positions later, and hears the answer later still, in any order."""

    def __init__(self, primary: Primary) -> None:
        self.primary = primary
        self.history = PrimaryHistory()
        self.asked: list[float] = []
        self.seen: list[Observation] = []

    def step(self, kind: str, value: Any) -> None:
        moves: dict[str, Callable[[Any], None]] = {
            "wait": self.primary.pass_time,
            "sync": lambda size: self.primary.commit(size, asynchronous=False),
            "async": lambda size: self.primary.commit(size, asynchronous=True),
            "write": self.primary.write,
            "flush": self.primary.flush,
            "switch": lambda _: self.primary.switch_wal(),
            "crash": self._crash,
            "ask": lambda _: self.asked.append(self.primary.now_s),
            "look": self._look,
            "answer": self._answer,
        }
        moves[kind](value)

    def _crash(self, same_postmaster: bool) -> None:
        self.primary.crash(same_postmaster=same_postmaster)
        self.asked = []  # their connections died

    def _look(self, which: int) -> None:
        if self.asked:
            asked_s = self.asked.pop(which % len(self.asked))
            self.seen.append(self.primary.look(asked_s, self.primary.now_s))

    def _answer(self, which: int) -> None:
        if self.seen:
            self._hear(self.seen.pop(which % len(self.seen)))

    def _hear(self, seen: Observation) -> None:
        written_by = self.history.written_by
        if written_by is None or int(written_by.incarnation) <= int(seen.incarnation):
            self.history = self.history.record(replace(seen, answered_s=self.primary.now_s))

    def check(self) -> None:
        """No position that a standby can stand at is believed to cover more than it does."""
        for end in self.primary.ends:
            if end <= self.primary.flushed:
                covered_s = self.history.covered_s(Lsn(end_lsn(end)), self.primary.known_finished(end))
                assert covered_s is None or covered_s <= self.primary.oldest_missing_s(end)


PAGE_FILLED_AND_ONE_RECORD_MORE: list[tuple[str, object]] = [
    ("sync", (BLOCK - LONG) // 8), ("async", 1), ("wait", 0.1), ("ask", None), ("look", 0), ("answer", 0),
]  # fmt: skip

LOOK: list[tuple[str, object]] = [("ask", None), ("look", 0), ("answer", 0)]
A_LOST_COMMITS_NUMBER_USED_AGAIN = [
    ("async", 1), *LOOK, ("crash", True), ("write", 2), ("sync", 1), ("wait", 0.1), *LOOK,
]  # fmt: skip
A_COMMIT_BETWEEN_THE_QUESTION_AND_THE_LOOK = [
    ("ask", None), ("wait", 0.1), ("async", 1), ("look", 0), ("answer", 0), ("wait", SETTLE_S - 0.05), *LOOK,
]  # fmt: skip


@examples(150)
@given(st.lists(steps, max_size=60))
@example(PAGE_FILLED_AND_ONE_RECORD_MORE)
@example(A_LOST_COMMITS_NUMBER_USED_AGAIN)
@example(A_COMMIT_BETWEEN_THE_QUESTION_AND_THE_LOOK)
def test_the_bound_is_never_below_the_truth(story: list[tuple[str, object]]) -> None:
    watch = Watch(Primary())
    for kind, value in story:
        watch.step(kind, value)
        watch.check()


@examples(40)
@given(st.lists(st.one_of(steps, st.just(("sample", None))), min_size=20, max_size=60), st.integers(3, 8))
def test_thinning_invents_nothing(story: list[tuple[str, object]], most: int) -> None:
    watch = Watch(Primary())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgfleet.core.staleness.MAX_SAMPLES", most)
        for kind, value in story:
            for step in ("ask", "look", "answer") if kind == "sample" else (kind,):
                watch.step(step, 0 if kind == "sample" else value)
            watch.check()
    assert len(watch.history.samples) <= most


def test_our_simulated_log_is_laid_out_as_postgresql_lays_it_out() -> None:
    assert start_lsn(0) == LONG
    assert end_lsn(0) == 0
    assert start_lsn(BLOCK - LONG) == BLOCK + SHORT
    assert end_lsn(BLOCK - LONG) == BLOCK
    assert start_lsn(IN_SEGMENT) == SEGMENT + LONG
    assert end_lsn(IN_SEGMENT) == SEGMENT
    assert pytest.approx(SETTLE_S) == SETTLE_DELAYS * DELAY_S


def test_half_a_record_on_the_standby_makes_nobody_stale() -> None:
    """An open transaction's log is flushed up to the edge of a page, in the middle of a record."""
    quiet = saw_primary(10.0, 500, finished="7:7:@0/0", xmax=7)
    writing = [saw_primary(at_s, 900, flush=800, finished="7:7:@0/0", xmax=7) for at_s in (11.0, 12.0, 30.0)]
    known = history(quiet, *writing)
    assert known.covered_s(Lsn(500)) == 30.0
    assert known.lag_s(Lsn(500), 30.0) == 0.0
    committed = known.record(saw_primary(31.0, 1000, finished="8:8:@0/0", xmax=8))
    assert committed.covered_s(Lsn(500)) == 30.0
    late = history(*writing)
    assert late.covered_s(Lsn(790)) is None
    assert late.covered_s(Lsn(790), xmin=7) == 30.0
    assert late.lag_s(Lsn(790), 30.0, xmin=7) == 0.0
    assert late.covered_s(Lsn(790), xmin=6) is None


# The bound is also useful: what is fresh is known to be fresh.


def history(*looks: Observation) -> PrimaryHistory:
    known = PrimaryHistory()
    for seen in looks:
        known = known.record(seen)
    return known


def test_without_a_sample_nothing_is_known() -> None:
    assert PrimaryHistory().covered_s(Lsn(1 << 60)) is None
    assert PrimaryHistory().lag_s(Lsn(1 << 60), 5.0) is None
    assert PrimaryHistory().last_asked_s is None


def test_a_replica_that_has_all_covers_the_last_question() -> None:
    known = history(saw_primary(10.0, 500), saw_primary(11.0, 600))
    assert known.covered_s(Lsn(600)) == 11.0
    assert known.covered_s(Lsn(599)) == 10.0
    assert known.covered_s(Lsn(499)) is None
    assert known.last_asked_s == 11.0


def test_an_idle_primary_makes_nobody_stale() -> None:
    known = history(*(saw_primary(10.0 + n, 500) for n in range(100)))
    assert known.covered_s(Lsn(500)) == 109.0


def test_a_replica_ahead_of_the_last_sample_covers_it() -> None:
    assert history(saw_primary(10.0, 500)).covered_s(Lsn(10_000)) == 10.0


def test_an_open_transaction_on_a_quiet_primary_makes_nobody_stale() -> None:
    known = history(*(saw_primary(10.0 + n, 900, flush=500) for n in range(20)))
    assert known.covered_s(Lsn(500)) == pytest.approx(29.0 - SETTLE_S)


def test_an_asynchronous_commit_is_not_missed() -> None:
    known = history(saw_primary(10.0, 900, flush=500), saw_primary(10.1, 900, flush=500))
    assert known.covered_s(Lsn(500)) == pytest.approx(10.1 - SETTLE_S)
    assert known.covered_s(Lsn(899)) == pytest.approx(10.1 - SETTLE_S)
    assert known.covered_s(Lsn(900)) == 10.1


def test_the_page_header_behind_a_switched_segment_is_no_commit() -> None:
    size = 16 << 20
    seen = saw_primary(10.0, size + 40, flush=size, wal_block_bytes=8192, wal_segment_bytes=size)
    assert history(seen).covered_s(Lsn(size)) == 10.0
    unknown_sizes = saw_primary(10.0, size + 40, flush=size)
    assert history(unknown_sizes).covered_s(Lsn(size)) == pytest.approx(10.0 - SETTLE_S)


@pytest.mark.parametrize("changed", [{"incarnation": "p2"}, {"timeline": 2}, {"system_id": 8}])
def test_positions_of_another_life_do_not_compare(changed: dict[str, Any]) -> None:
    known = history(saw_primary(10.0, 500), saw_primary(11.0, 400, **changed))
    assert known.covered_s(Lsn(450)) == 11.0
    assert known.covered_s(Lsn(399)) is None
    ahead = history(saw_primary(10.0, 500), saw_primary(11.0, 900, **changed))
    assert ahead.covered_s(Lsn(700)) is None


def test_what_is_no_sample_changes_nothing() -> None:
    known = history(saw_primary(10.0, 500))
    assert known.record(replace(saw_primary(11.0, 600), insert_lsn=None)) is known
    assert known.record(replace(saw_primary(11.0, 600), timeline=None)) is known


def test_answers_out_of_order_keep_positions_rising() -> None:
    known = history(saw_primary(10.0, 700), saw_primary(11.0, 600), saw_primary(9.0, 100))
    assert [(s.asked_s, s.insert_lsn) for s in known.samples] == [(11.0, 600)]


def test_memory_is_bounded_and_the_recent_past_is_kept() -> None:
    known = history(*(saw_primary(float(n), n) for n in range(1, 5 * MAX_SAMPLES)))
    assert len(known.samples) <= MAX_SAMPLES
    assert known.covered_s(Lsn(5 * MAX_SAMPLES - 100)) == 5 * MAX_SAMPLES - 100
    assert known.covered_s(Lsn(1000)) is not None


# lag, as people read it


@pytest.mark.parametrize(
    ("replay", "lag_s"),
    [(600, 0.0), (900, 0.0), (550, 0.75), (500, 1.5), (400, 1.5)],
)
def test_lag_is_interpolated_between_samples(replay: int, lag_s: float) -> None:
    # Flushed: 500 at 10.0, 600 at 11.0. Behind all samples: at least since the first.
    known = history(saw_primary(10.0, 500), saw_primary(11.0, 600))
    seen_s = {600: 11.5, 900: 11.5, 550: 11.25, 500: 11.5, 400: 11.5}[replay]
    assert known.lag_s(Lsn(replay), seen_s) == pytest.approx(lag_s)


def test_lag_is_told_by_what_was_known_at_that_moment() -> None:
    known = history(saw_primary(10.0, 500), saw_primary(11.0, 600))
    assert known.lag_s(Lsn(500), 10.5) == 0.0
    assert known.lag_s(Lsn(500), 9.9) is None, "unknown is never 0"
