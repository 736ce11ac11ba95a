"""The nemesis does everything that it can, and breaks nothing that it must not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from pgfleet.drill.consistency import nemesis, tables
from pgfleet.drill.consistency.nemesis import Deed, Nemesis
from pgfleet.errors import LocalFleetError

NODES = ("primary", "replica-1", "replica-2", "replica-3")


class Hand:
    """Does nothing, and remembers what it should have done."""

    def __init__(self, began: str = "0/1") -> None:
        self.done: list[tuple[Any, ...]] = []
        self.began = began

    async def do(self, verb: Callable[..., Any], *args: Any) -> Any:
        self.done.append((verb.__name__, *args))
        if verb is tables.arrived:
            return "0/1", {}
        return self.began if verb is tables.replayed else None

    async def each(self, verb: str, names: Sequence[str], *args: Any) -> None:
        self.done += [(verb, name, *args) for name in names]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nemesis, "PAUSE_S", (0.0, 0.0))
    monkeypatch.setattr(nemesis, "BEHIND_S", (0.0, 0.0))


def made(hand: Hand, seed: int = 0) -> tuple[Nemesis, list[str]]:
    told: list[str] = []
    return Nemesis(NODES, "primary", hand, Random(seed), told.append), told  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
async def test_everything_comes_up(seed: int) -> None:
    it, told = made(Hand(), seed)
    await it.work(lambda: len(told) > 150)
    assert set(it.done) == set(Deed)
    assert sum(it.done.values()) == len(it.events) == len(told)
    assert it.promotions[-1].node == it.primary


@pytest.mark.parametrize("seed", range(5))
async def test_who_is_promoted_was_well_and_followed_the_primary(seed: int) -> None:
    """What it has is then all that survives, on a timeline that nobody else begins."""
    hand = Hand()
    it, told = made(hand, seed)
    await it.work(lambda: len(told) > 150)
    well = set(NODES)
    cut = None
    for verb, *args in hand.done:
        name = args[0][0] if isinstance(args[0], list) else args[0]
        if verb in ("kill", "freeze", "lag", "pause_replay"):
            well.discard(name)
        elif verb == "cut_off":
            cut = name
        elif verb == "mend_one":
            well.add(name)
        elif verb == "promote":
            assert name in well
            well = {name}
    assert cut is not None


async def test_a_promotion_that_is_not_known_exactly_ends_the_run() -> None:
    it, _ = made(Hand(began="0/2"))
    with pytest.raises(LocalFleetError, match="promoted at 0/2, and had been asked what it holds at 0/1"):
        await it.work(lambda: False)
