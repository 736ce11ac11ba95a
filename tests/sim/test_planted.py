"""Is the simulator worth its time? It must find what is wrong on purpose."""

from __future__ import annotations

import pytest

from tests.sim.history import replay
from tests.sim.invariants import ALL, Invariant
from tests.sim.planted import PLANTED, RARE, Plant

MOST_SEEDS = 400


def first_found(by: frozenset[Invariant], begin: int) -> int | None:
    """The first seed that breaks one of these, from `begin` on and around."""
    seeds = (*range(begin, MOST_SEEDS), *range(begin))
    return next((seed for seed in seeds if replay(seed, by).violation), None)


@pytest.mark.parametrize(("plant", "by"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_bug_is_found(
    plant: Plant, by: frozenset[Invariant], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert by <= ALL
    plant(monkeypatch)
    assert first_found(by, RARE.get(plant, 0)) is not None
