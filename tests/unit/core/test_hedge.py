from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.budget import Budget
from pgfleet.core.hedge import (
    BURST,
    EXTRA_LOAD,
    FEWEST_TIMES,
    FLOOR_S,
    StatementClass,
    StatementClasses,
    may_hedge,
)


def seen(spent_s: float, times: int) -> StatementClass:
    known = StatementClass()
    for _ in range(times):
        known.add(spent_s)
    return known


def test_of_a_statement_seen_seldom_nobody_knows_when_it_is_late() -> None:
    assert seen(0.01, FEWEST_TIMES - 1).delay_s is None
    assert seen(0.01, FEWEST_TIMES).delay_s == pytest.approx(0.01, rel=0.13)


def test_nothing_is_late_within_two_milliseconds() -> None:
    assert seen(0.0001, 100).delay_s == FLOOR_S


@given(st.lists(st.integers(0, 50), max_size=300))
def test_the_table_is_bounded_and_keeps_what_is_in_use(texts: list[int]) -> None:
    table = StatementClasses(most=10)
    favourite = table.of("favourite")
    for text in texts:
        table.of(str(text))
        assert table.of("favourite") is favourite
        assert len(table._young) + len(table._old) <= 10


@pytest.mark.parametrize(
    ("candidates", "replicas", "wanted"),
    [(3, 3, True), (2, 3, True), (1, 3, False), (2, 4, False), (1, 1, False)],
)
def test_a_fleet_in_trouble_is_not_asked_twice(candidates: int, replicas: int, wanted: bool) -> None:
    assert may_hedge(candidates, replicas) is wanted


@given(st.lists(st.integers(0, 1000), max_size=100))
def test_second_reads_are_at_most_a_twentieth_and_one_burst(came: list[int]) -> None:
    budget, requests, granted = Budget(EXTRA_LOAD, BURST), 0, 0
    for count in came:
        requests += count
        while budget.spend(requests + granted, 0.0):
            granted += 1
        assert granted <= EXTRA_LOAD * requests + BURST
