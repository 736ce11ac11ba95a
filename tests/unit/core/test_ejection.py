from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pgfleet.core.ejection import (
    BASE_S,
    FORGET_AFTER_S,
    FULL_PART,
    LONGEST_S,
    STRIKES,
    TRUSTED,
    WARM_UP_S,
    Phase,
    Standing,
    Verdict,
    elapse,
    judge,
    may_eject,
    parts_of,
    returning,
)
from tests.examples import examples

SLOW, WELL = Verdict(True, "slow"), Verdict(False)


def slow(standing: Standing, now_s: float = 100.0, jitter: float = 0.5, may_go: bool = True) -> Standing:
    return judge(standing, SLOW, may_go, now_s, jitter)


def ejected(now_s: float = 100.0, jitter: float = 0.5) -> Standing:
    return slow(slow(TRUSTED, now_s), now_s, jitter)


# one replica


def test_one_slow_judgement_ejects_nobody_and_two_in_a_row_do() -> None:
    once = slow(TRUSTED)
    assert once.phase is Phase.SERVING
    assert judge(once, WELL, True, 100.0, 0.5) == TRUSTED
    twice = slow(once)
    assert (twice.phase, twice.detail, twice.part) == (Phase.EJECTED, "slow", 0)


def test_who_may_not_go_stays_and_goes_as_soon_as_he_may() -> None:
    kept = TRUSTED
    for _ in range(5):
        kept = slow(kept, may_go=False)
        assert kept.phase is Phase.SERVING
    assert slow(kept).phase is Phase.EJECTED


def test_ejections_grow_up_to_a_limit() -> None:
    standing, lasted = ejected(), []
    for _ in range(10):
        lasted.append(standing.until_s - standing.since_s)
        assert elapse(standing, False, standing.until_s - 0.001) is standing
        standing = elapse(standing, False, standing.until_s)
        assert standing.phase is Phase.ON_TRIAL
        standing = slow(standing, standing.since_s + 1.0, may_go=False)
    assert lasted == [min(LONGEST_S, BASE_S * 2**n) for n in range(10)]


@pytest.mark.parametrize(("jitter", "part"), [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)])
def test_ejections_differ_by_the_jitter(jitter: float, part: float) -> None:
    standing = ejected(jitter=jitter)
    assert standing.until_s - standing.since_s == part * BASE_S


def returned(standing: Standing) -> Standing:
    """The same replica after a trial that went well, and its warming up."""
    on_trial = elapse(standing, False, standing.until_s)
    warm = judge(on_trial, WELL, True, on_trial.since_s, 0.5)
    warm = elapse(warm, True, on_trial.since_s)
    return elapse(warm, True, on_trial.since_s + WARM_UP_S)


def test_ejections_are_forgotten_by_who_is_well_for_a_while() -> None:
    back = returned(ejected())
    assert (back.phase, back.times) == (Phase.SERVING, 1)
    soon = slow(slow(back, back.since_s), back.since_s + FORGET_AFTER_S - 1)
    late = slow(slow(back, back.since_s), back.since_s + FORGET_AFTER_S)
    assert (soon.times, late.times) == (2, 1)


def test_who_returns_takes_a_growing_part_from_his_first_read_on() -> None:
    new = returning(TRUSTED)
    assert elapse(new, False, 500.0) is new, "until it has a place in the table no time passes"
    parts = [elapse(elapse(new, True, 100.0), True, 100.0 + WARM_UP_S * n / 10).part for n in range(11)]
    assert (parts[0], parts[-1]) == (1, FULL_PART)
    assert parts == sorted(parts)
    assert set(parts) == {1, 2, 3, FULL_PART}
    assert slow(new) is new, "cold caches are no fault"


class OneReplica(RuleBasedStateMachine):
    """Whatever is said of it, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.standing = TRUSTED
        self.before = TRUSTED

    def _becomes(self, standing: Standing) -> None:
        self.before, self.standing = self.standing, standing

    @rule(seconds=st.floats(0.1, 100.0), serves=st.booleans())
    def time_passes(self, seconds: float, serves: bool) -> None:
        self.now_s += seconds
        self._becomes(elapse(self.standing, serves, self.now_s))

    @rule(verdict=st.sampled_from((SLOW, WELL)), may_go=st.booleans(), jitter=st.floats(0, 1))
    def is_judged(self, verdict: Verdict, may_go: bool, jitter: float) -> None:
        self._becomes(judge(self.standing, verdict, may_go, self.now_s, jitter))
        if self.standing.phase is Phase.EJECTED and not self.before.is_out:
            assert verdict.slow
            assert may_go
            assert self.before.strikes >= STRIKES - 1
        if self.before.phase is Phase.ON_TRIAL:
            assert self.standing.phase is (Phase.EJECTED if verdict.slow else Phase.WARMING)

    @rule()
    def restarts(self) -> None:
        self._becomes(returning(self.standing))

    @invariant()
    def parts_fit_the_phase(self) -> None:
        part, phase = self.standing.part, self.standing.phase
        assert (part == 0) is self.standing.is_out
        assert (part == FULL_PART) is (phase is Phase.SERVING)

    @invariant()
    def ejections_end(self) -> None:
        if self.standing.phase is Phase.EJECTED:
            assert self.standing.until_s - self.standing.since_s <= 1.25 * LONGEST_S
            assert self.standing.detail

    @invariant()
    def the_way_back_leads_over_a_trial_and_warming_up(self) -> None:
        if self.before.is_out and not self.standing.is_out:
            assert self.standing.phase is Phase.WARMING
        if self.before.phase is Phase.EJECTED and self.standing.phase is Phase.ON_TRIAL:
            assert self.now_s >= self.before.until_s


TestOneReplica = OneReplica.TestCase
TestOneReplica.settings = examples(60, stateful_step_count=40)


# all of them


@pytest.mark.parametrize(
    ("replicas", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5), (100, 50)], ids=str
)
def test_how_many_may_go_by_default(replicas: int, most: int) -> None:
    out = 0
    while may_eject(replicas, out, replicas - out, 0.5, 0.5):
        out += 1
    assert out == most


shares = st.floats(0.0, 1.0, exclude_min=True)
standings = st.sampled_from(
    (TRUSTED, slow(TRUSTED), ejected(), elapse(ejected(), False, 999.0), returning(TRUSTED))
)


@given(st.integers(0, 30), shares, shares, st.data())
def test_no_ejection_leaves_fewer_than_the_panic_share(
    replicas: int, max_share: float, panic_share: float, data: st.DataObject
) -> None:
    out = data.draw(st.integers(0, replicas))
    serving = data.draw(st.integers(0, replicas - out))
    if may_eject(replicas, out, serving, max_share, panic_share):
        assert replicas >= 2
        assert serving - 1 >= panic_share * replicas
        assert serving - 1 >= 1
        assert out + 1 <= max(1, max_share * replicas + 1e-6)


@given(st.lists(standings, max_size=12), st.integers(0, 8), shares)
def test_never_fewer_serve_than_the_panic_share_while_others_qualify(
    fit: list[Standing], unfit: int, panic_share: float
) -> None:
    replicas = len(fit) + unfit
    parts = parts_of(fit, replicas, panic_share)
    serving = sum(bool(part) for part in parts)
    assert serving >= min(len(fit), ceil(panic_share * replicas - 1e-9))
    assert serving or not fit
    if sum(not standing.is_out for standing in fit) >= panic_share * max(1, replicas):
        wanted = [None if s.phase is Phase.EJECTED else s.part for s in fit]
        assert list(parts) == wanted
