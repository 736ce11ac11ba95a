from __future__ import annotations

from math import inf

import pytest

from pgfleet.core.node import Observation, Reason
from pgfleet.core.schedule import (
    MISCONFIGURED_RETRY_S,
    RETRY_S,
    SEARCH_LASTS_S,
    SEARCH_RETRY_S,
    Pace,
    Search,
    attempts_call_for_a_probe,
)
from pgfleet.core.topology import NodeState
from tests.unit.core.observations import down, fleet, saw_primary, saw_replica

PRIMARY, REPLICA = saw_primary(10.0, 500), saw_replica(10.0, 500)


@pytest.mark.parametrize(
    ("interval_s", "max_lag_s", "seen", "unproven", "next_s"),
    [
        (1.0, 10.0, REPLICA, False, 1.0),
        (30.0, 10.0, REPLICA, False, 30.0),
        (30.0, 10.0, REPLICA, True, RETRY_S),
        (0.1, 10.0, REPLICA, True, 0.1),
        (30.0, 10.0, PRIMARY, False, 1.0),
        (0.2, 10.0, PRIMARY, False, 0.2),
        (30.0, 0.5, PRIMARY, False, 0.25),
        (30.0, 10.0, None, True, RETRY_S),
    ],
)
def test_the_next_look(
    interval_s: float, max_lag_s: float, seen: Observation | None, unproven: bool, next_s: float
) -> None:
    node = NodeState("a", observation=seen)
    assert Pace(interval_s, max_lag_s).next_probe_s(node, unproven) == next_s


@pytest.mark.parametrize(
    ("reason", "next_s"),
    [
        (Reason.UNREACHABLE, RETRY_S),
        (Reason.BUSY, RETRY_S),
        (Reason.MISCONFIGURED, MISCONFIGURED_RETRY_S),
    ],
)
def test_a_node_in_trouble_is_looked_at_until_it_is_back(reason: Reason, next_s: float) -> None:
    node = NodeState("a", observation=REPLICA, trouble=down(10.0, reason))
    assert Pace(30.0, 10.0).next_probe_s(node, False) == next_s


# attempts


def asks(begun_s: list[float], until_s: float) -> list[float]:
    """When a sweep, eight times a second, asks about attempts that go on and on."""
    asked = [-inf]
    for tick in range(int(until_s * 8) + 1):
        now_s = tick / 8
        begun = [at_s for at_s in begun_s if at_s <= now_s]
        if attempts_call_for_a_probe(begun, asked[-1], now_s):
            asked.append(now_s)
    return asked[1:]


def test_an_attempt_asks_once_it_is_long_under_way_and_then_at_an_easy_pace() -> None:
    assert asks([], 5.0) == []
    assert asks([0.0], 3.5) == [0.25, 1.25, 2.25, 3.25]


def test_the_next_attempt_to_grow_long_asks_by_itself() -> None:
    assert asks([0.0, 0.5], 1.5) == [0.25, 0.75]
    assert asks([n / 8 for n in range(20)], 1.0) == [0.25, 0.5, 0.75, 1.0], "but not at every sweep"


# the search for a primary


@pytest.mark.parametrize(
    ("seen", "reason", "next_s"),
    [
        (REPLICA, None, SEARCH_RETRY_S),
        (PRIMARY, None, SEARCH_RETRY_S),
        (REPLICA, Reason.UNREACHABLE, SEARCH_RETRY_S),
        (REPLICA, Reason.MISCONFIGURED, MISCONFIGURED_RETRY_S),
    ],
)
def test_the_next_look_while_the_primary_is_searched_for(
    seen: Observation, reason: Reason | None, next_s: float
) -> None:
    node = NodeState("a", observation=seen, trouble=down(10.0, reason) if reason else None)
    assert Pace(30.0, 10.0).next_probe_s(node, False, searching=True) == next_s


def test_a_search_goes_on_while_somebody_waits_and_for_a_while_when_nobody_does() -> None:
    without = fleet(1)
    assert not Search().is_on(without, 0, 10.0), "nobody writes"
    assert Search().is_on(without, 1, 10.0)
    assert Search(10.0).is_on(without, 0, 10.0 + SEARCH_LASTS_S - 0.1)
    assert not Search(10.0).is_on(without, 0, 10.0 + SEARCH_LASTS_S)
    assert Search(10.0).is_on(without, 1, 10.0 + SEARCH_LASTS_S)


def test_a_search_ends_with_a_primary_that_answered_since_the_failure() -> None:
    with_primary = fleet(1).observe("primary", saw_primary(10.0, 500))
    assert not Search(9.0).is_on(with_primary, 1, 10.5)
    assert Search(10.1).is_on(with_primary, 0, 10.5), "what it was before, it may no longer be"
    split = with_primary.observe("replica-1", saw_primary(10.2, 500, incarnation="rival"))
    assert Search(9.0).is_on(split, 1, 10.5)
