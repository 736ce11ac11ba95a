from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.latency import (
    FACTOR,
    MARGIN_S,
    MOST,
    RECENT_S,
    Answers,
    Profile,
    comparison,
    is_quick,
    is_slow,
    profile,
    typical,
)

seconds = st.floats(1e-5, 10.0)
samples = st.lists(seconds, min_size=3, max_size=60)


def known(answers_s: list[float]) -> Profile:
    drawn = profile(answers_s, 1)
    assert drawn
    return drawn


def test_too_few_answers_say_nothing() -> None:
    assert profile([0.1] * 9, 10) is None
    assert profile([0.1] * 10, 10) == (0.1, 0.1, 0.1)
    assert profile(map(float, range(10)), 10) == (1.0, 5.0, 8.0)


@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_answers_says_nothing(answers_s: list[float], dice: random.Random) -> None:
    mixed = list(answers_s)
    dice.shuffle(mixed)
    assert known(mixed) == known(answers_s)


@given(samples)
def test_nobody_is_slower_than_himself(answers_s: list[float]) -> None:
    assert not is_slow(known(answers_s), [known(answers_s)])


@given(samples, st.floats(1.0, FACTOR))
def test_in_the_dead_band_nobody_is_slow(answers_s: list[float], factor: float) -> None:
    assert not is_slow(known([factor * at_s for at_s in answers_s]), [known(answers_s)])


@given(samples, st.floats(0.0, MARGIN_S))
def test_a_small_difference_harms_nobody(answers_s: list[float], more_s: float) -> None:
    assert not is_slow(known([at_s + more_s for at_s in answers_s]), [known(answers_s)])


@given(st.lists(st.floats(1e-5, 0.1), min_size=3, max_size=60))
def test_who_is_slower_in_everything_is_slow(answers_s: list[float]) -> None:
    slower = [4 * at_s + 2 * MARGIN_S for at_s in answers_s]
    assert is_slow(known(slower), [known(answers_s)])
    assert not is_quick(known(slower))


@given(samples, samples)
def test_who_is_quick_is_not_slow_whatever_the_others_take(mine: list[float], theirs: list[float]) -> None:
    assert not (is_quick(known(mine)) and is_slow(known(mine), [known(theirs)]))


@pytest.mark.parametrize("short", [0.05, 0.1, 0.2, 0.5, 0.8, 0.9])
def test_chance_makes_nobody_slow_whose_statements_are_short_and_long(short: float) -> None:
    """A thousand comparisons of ten answers of the same mix: by the median alone, half of them would be wrong."""
    dice = random.Random(7)

    def some() -> Profile:
        return known([0.001 if dice.random() < short else 0.2 for _ in range(10)])

    assert sum(is_slow(some(), [some(), some()]) for _ in range(1000)) <= 1


def test_one_is_compared_with_the_middle_of_the_others() -> None:
    assert typical([(1.0, 2.0, 3.0)]) == (1.0, 2.0, 3.0)
    assert typical([(1.0, 2.0, 3.0), (2.0, 4.0, 6.0)]) == (1.5, 3.0, 4.5)
    assert typical([(1.0,), (2.0,), (90.0,)]) == (2.0,)
    assert comparison((0.01, 0.02, 0.03), [(0.001, 0.0021, 0.003)]) == (
        "half of its answers take 20 ms, of the others' 2.1 ms"
    )


def test_answers_are_looked_at_once_there_are_enough() -> None:
    answers = Answers(3)
    answers.begin(100.0)
    answers.add(0.1)
    assert not answers.look(100.5)
    answers.add(0.2)
    assert answers.look(101.0, waits_s=[5.0]), "who waits for so long counts as answered now"
    assert answers.profile == (0.1, 0.2, 5.0)
    assert answers.recent(101.0 + RECENT_S - 0.1) == answers.profile
    assert answers.recent(101.0 + RECENT_S) is None
    assert not answers.look(101.5), "what was looked at is forgotten"


def test_answers_that_stay_too_few_are_forgotten() -> None:
    answers = Answers(2)
    answers.begin(100.0)
    answers.add(9.0)
    assert not answers.look(100.0 + RECENT_S)
    answers.add(0.1)
    answers.add(0.1)
    assert answers.look(100.5 + RECENT_S)
    assert answers.profile == (0.1, 0.1, 0.1)


def test_only_the_latest_answers_are_kept() -> None:
    answers = Answers(1)
    for _ in range(3 * MOST):
        answers.add(9.0)
    for _ in range(MOST):
        answers.add(0.1)
    assert answers.look(100.0)
    assert answers.profile == (0.1, 0.1, 0.1)
