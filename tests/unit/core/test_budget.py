from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.budget import RETRY_BURST, RETRY_FLOOR_PER_S, Budget, Ration, Turns, retry_budget
from tests.examples import examples

shares = st.floats(0.0, 1.0)
asks = st.lists(st.tuples(st.integers(0, 500), st.floats(0.0, 3.0)), max_size=60)
"""Before each: how many requests came, and how much time passed."""


@given(shares, st.floats(0.0, 50.0), st.floats(0.0, 20.0), asks)
def test_never_more_than_the_share_the_floor_and_one_burst(
    share: float, burst: float, floor: float, asked: list[tuple[int, float]]
) -> None:
    budget = Budget(share, burst, floor)
    requests = granted = 0
    now_s = 1000.0
    for came, passed_s in asked:
        requests, now_s = requests + came, now_s + passed_s
        granted += budget.spend(requests + granted, now_s)
        assert granted <= share * requests + floor * (now_s - 1000.0) + burst + 1e-6


@given(st.integers(1, 400))
def test_a_burst_is_there_at_once_and_then_the_share(burst: int) -> None:
    budget = Budget(0.5, burst)
    assert sum(budget.spend(min(n, burst), 0.0) for n in range(burst + 50)) == burst, (
        "its grants earn nothing"
    )
    assert all(budget.spend(burst + 2 * (n + 1) + n, 0.0) for n in range(20))


def test_a_node_that_leaves_takes_its_reads_along_and_those_that_stay_earn_as_before() -> None:
    budget = Budget(0.5, burst=1)
    assert budget.spend(1_000_000, 0.0)
    assert not budget.spend(1001, 1.0), "nothing came"
    assert budget.spend(1003, 2.0)


def test_conflicts_at_50_of_320_reads_a_second_are_within_the_default() -> None:
    budget = retry_budget(0.2, connections=0)
    granted = [budget.spend(round(320 / 50 * n) + n, n / 50) for n in range(50 * 600)]
    assert all(granted)


def test_every_connection_of_a_large_application_may_be_lost_once() -> None:
    many = retry_budget(0.2, 400)
    assert all(many.spend(n, 0.0) for n in range(400))
    few = retry_budget(0.2, 3)
    assert sum(few.spend(0, 0.0) for _ in range(1000)) == RETRY_BURST
    assert sum(few.spend(0, n / 1000) for n in range(1000)) == pytest.approx(RETRY_FLOOR_PER_S, abs=1)


def test_a_share_of_nothing_grants_nothing() -> None:
    budget = retry_budget(0.0, 400)
    assert not any(budget.spend(n * 1000, n) for n in range(1000))


@given(st.floats(1.0, 5000.0), st.lists(st.floats(0.0, 1.5), max_size=100))
def test_turns_come_in_order_at_the_rate_and_a_second_of_them_at_once(rate: float, gaps: list[float]) -> None:
    turns, now_s, taken = Turns(rate), 1000.0, []
    for gap_s in gaps:
        now_s += gap_s
        expected_s = turns.next_s(now_s)
        taken.append(turns.take(now_s))
        assert taken[-1] == expected_s >= now_s
    assert taken == sorted(taken)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first <= ceil(rate + rate * (taken[last] - taken[first]) + 1e-6)


def test_a_slow_rate_lets_one_go_at_a_time() -> None:
    turns = Turns(1.0)
    assert [turns.take(1000.0) for _ in range(3)] == [1000.0, 1001.0, 1002.0]


def test_a_second_of_turns_is_there_at_once() -> None:
    turns = Turns(100.0)
    assert [turns.take(1000.0) for _ in range(100)] == [1000.0] * 100
    assert turns.take(1000.0) == pytest.approx(1000.01)


@examples(200)
@given(st.lists(st.tuples(st.floats(0.0, 0.5), st.integers(0, 40), st.booleans()), min_size=1, max_size=80))
def test_a_ration_is_never_more_than_its_share(steps: list[tuple[float, int, bool]]) -> None:
    ration, now_s, writes, asked = Ration(0.15, 2.0, 5), 100.0, 0, 0
    ration.wait_s(0, 0, now_s)
    for passed_s, written, wants in steps:
        now_s, writes = now_s + passed_s, writes + written
        if wants and ration.wait_s(writes, asked, now_s) == 0.0:
            asked += 1
        assert asked <= 0.15 * writes + 2.0 * (now_s - 100.0) + 5 + 1e-6


def test_a_ration_foresees_when_the_next_question_is_earned() -> None:
    ration, now_s, asked = Ration(0.1, 1.0, 2), 0.0, 0
    waits = []
    for writes in range(0, 1000, 2):  # 100 a second: 11 questions a second
        now_s += 0.02
        waits.append(ration.wait_s(writes, asked, now_s))
        asked += waits[-1] == 0.0
    assert max(waits) <= 1.0, "until it knows the rate"
    assert 0.0 < max(waits[50:]) <= 1 / 11 + 1e-6
