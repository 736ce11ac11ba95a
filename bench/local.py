"""How long a primary and three replicas take from nothing."""

from __future__ import annotations

from statistics import median
from time import perf_counter

from bench.figures import Figure
from pgfleet.local import LocalFleet

LIMIT_S = 3.0


def run(*, quick: bool) -> list[Figure]:
    """Build some fleets, one after another."""
    times = [_up_s() for _ in range(1 if quick else 5)]
    return [
        Figure("LocalFleet.up, three replicas", median(times), "s", LIMIT_S),
        Figure("the slowest of them", max(times), "s", detail=f"of {len(times)}"),
    ]


def _up_s() -> float:
    began_s = perf_counter()
    with LocalFleet.temporary():
        return perf_counter() - began_s
