"""A few histories, and those that once went wrong. `make test` lives two thousand beside the suites."""

from __future__ import annotations

from tests.sim.history import History, replay
from tests.sim.seeds import kept_seeds


def check(seeds: range | list[int]) -> None:
    """Every promise that is kept holds in each of these."""
    broken = [history for seed in seeds if (history := replay(seed)).violation]
    assert not broken, f"{[history.seed for history in broken]}; the first:\n{broken[0]}"


def test_every_promise_holds() -> None:
    check(range(100))


def test_what_once_went_wrong() -> None:
    check(kept_seeds())


def test_a_seed_is_a_history() -> None:
    def told(histories: list[History]) -> list[str]:
        return [str(history) for history in histories]

    once = told([replay(seed) for seed in range(10)])
    assert once == told([replay(seed) for seed in range(10)])
    assert len(set(once)) == 10
