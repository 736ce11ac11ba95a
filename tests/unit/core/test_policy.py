from __future__ import annotations

from collections import Counter
from itertools import cycle, islice

from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.policy import least_in_flight, weighted_round
from tests.examples import examples

weights = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@examples(100)
@given(weights)
def test_each_node_has_its_share_of_every_round(given_weights: list[int]) -> None:
    turns = Counter(weighted_round(given_weights))
    first = turns[0] / given_weights[0]
    assert all(turns[i] == weight * first for i, weight in enumerate(given_weights))


@examples(100)
@given(weights)
def test_turns_are_spread_evenly(given_weights: list[int]) -> None:
    """No stretch of any length is a whole turn and more away from its share."""
    total = sum(given_weights)
    turns = list(islice(cycle(weighted_round(given_weights)), 2 * total))
    for node, weight in enumerate(given_weights):
        for length in range(1, total + 1):
            taken = turns[:length].count(node)
            assert abs(taken - length * weight / total) < len(given_weights)


def test_equal_weights_take_turns() -> None:
    assert sorted(weighted_round([3, 3, 3])) == [0, 1, 2]
    assert weighted_round([]) == ()


def test_a_heavy_node_does_not_serve_in_bursts() -> None:
    assert weighted_round([5, 1, 1]) == (0, 0, 1, 0, 2, 0, 0)


def test_the_least_busy_for_its_weight_is_next() -> None:
    assert least_in_flight([2, 1, 3], [1, 1, 1], 0) == 1
    assert least_in_flight([4, 3], [2, 1], 0) == 0


def test_a_serial_caller_uses_every_node() -> None:
    """Nobody has anything in flight: the turn decides."""
    taken = Counter(least_in_flight([0, 0, 0], [1, 1, 1], start) for start in islice(cycle(range(3)), 30))
    assert taken == {0: 10, 1: 10, 2: 10}
