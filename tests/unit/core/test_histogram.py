from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.histogram import MEMORY, Histogram


@given(st.floats(1e-6, 1000.0))
def test_a_quantile_is_right_to_an_eighth(spent_s: float) -> None:
    times = Histogram()
    times.add(spent_s)
    for q in (0.0, 0.5, 0.95, 1.0):
        assert times.quantile(q) == pytest.approx(spent_s, rel=0.126)


def test_nothing_and_times_out_of_range() -> None:
    times = Histogram()
    assert times.quantile(0.95) == 0.0
    for odd in (0.0, -1.0, 1e9):
        times.add(odd)
    assert times.total == 3
    assert times.quantile(1.0) > 500


def test_quantiles_stand_in_order() -> None:
    times = Histogram()
    for n in range(1, 1001):
        times.add(n / 1000)
    assert times.quantile(0.5) == pytest.approx(0.5, rel=0.13)
    assert times.quantile(0.95) == pytest.approx(0.95, rel=0.13)


def test_what_is_long_past_counts_little() -> None:
    times = Histogram()
    for _ in range(MEMORY):
        times.add(1.0)
    for _ in range(5 * MEMORY):
        times.add(0.001)
    assert times.quantile(0.95) == pytest.approx(0.001, rel=0.13)
    assert times.total < MEMORY
