"""In which order equal candidates are taken."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd


def weighted_round(weights: Sequence[int]) -> tuple[int, ...]:
    """One round of weighted round robin: the indexes of the nodes in the order they are taken.

    Each node stands in the round as often as its weight says, and as evenly spread as can be (the smooth weighted
    round robin of nginx). The round of equal weights is each node once.
    """
    common = gcd(*weights) if weights else 1
    shares = [weight // common for weight in weights]
    credit = [0] * len(shares)
    total = sum(shares)
    taken = []
    for _ in range(total):
        credit = [c + share for c, share in zip(credit, shares, strict=True)]
        best = max(range(len(credit)), key=credit.__getitem__)
        credit[best] -= total
        taken.append(best)
    return tuple(taken)


def least_in_flight(in_flight: Sequence[int], weights: Sequence[int], start: int) -> int:
    """The node with the fewest reads in flight for its weight; ties go round, beginning at `start`.

    Without the rotation a serial caller, for whom every node always has none in flight, would use one node alone.
    """
    count = len(in_flight)
    order = [(start + i) % count for i in range(count)]
    return min(order, key=lambda i: in_flight[i] / weights[i])
