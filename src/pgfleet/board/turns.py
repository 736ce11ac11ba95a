"""Whose turn it is: the round of those that take turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Protocol, TypeVar

from pgfleet.chance import CHANCE
from pgfleet.core.policy import least_in_flight, weighted_round


class Busy(Protocol):
    """What takes turns."""

    @property
    def in_flight(self) -> int:
        """How much it has to do."""


P = TypeVar("P", bound=Busy)


def turns(pools: Sequence[P], weights: Sequence[int], policy: str) -> Iterator[P]:
    """The pools in turn, without end, beginning anywhere. Any thread may take the next."""
    start = CHANCE.randrange(len(pools))
    if policy == "least_in_flight":
        starts = cycle([*range(start, len(pools)), *range(start)])

        def fewest() -> P:
            return pools[least_in_flight([pool.in_flight for pool in pools], weights, next(starts))]

        return iter(fewest, None)
    taken = weighted_round(weights)
    return cycle([pools[turn] for turn in taken[start:] + taken[:start]])
