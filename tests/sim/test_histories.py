"""Two thousand histories, and those that once went wrong. Two classes, for two workers."""

from __future__ import annotations

import pytest

from tests.sim.history import History, replay
from tests.sim.seeds import kept_seeds

BATCH = 50


def check(seeds: range | list[int]) -> None:
    """Every promise that is kept holds in each of these."""
    broken = [history for seed in seeds if (history := replay(seed)).violation]
    assert not broken, f"{[history.seed for history in broken]}; the first:\n{broken[0]}"


@pytest.mark.parametrize("first", range(0, 1000, BATCH))
class TestFirstThousand:
    def test_every_promise_holds(self, first: int) -> None:
        check(range(first, first + BATCH))


@pytest.mark.parametrize("first", range(1000, 2000, BATCH))
class TestSecondThousand:
    def test_every_promise_holds(self, first: int) -> None:
        check(range(first, first + BATCH))


def test_what_once_went_wrong() -> None:
    check(kept_seeds())


def test_a_seed_is_a_history() -> None:
    def told(histories: list[History]) -> list[str]:
        return [str(history) for history in histories]

    once = told([replay(seed) for seed in range(10)])
    assert once == told([replay(seed) for seed in range(10)])
    assert len(set(once)) == 10
