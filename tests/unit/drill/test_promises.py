"""Each promise is kept by a run that is well, and broken by what it is there to find."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from pgfleet.drill.calls import Call, Group, Kind, Record
from pgfleet.drill.names import DRILLS
from pgfleet.drill.promises import PROMISES, Promise, Verdict, judge
from pgfleet.drill.scenarios import SCENARIOS
from tests.unit.drill.records import GROUPS, call, looks, record, steady, write

ALL = {promise.name: promise for promises in PROMISES.values() for promise in promises}
BOUNDED = Group(Kind.BOUNDED, 1, 1.0)


def well(**changes: Any) -> Record:
    """A run in which everything went as it should."""
    calls = [
        *(it for it in steady()),
        *(call(second + 0.5, "replica-2") for second in (5, 20)),
        *(call(second, kind=Kind.BLOCK) for second in range(30)),
        *(write(second + 0.2, second, "primary" if second < 12 else "replica-1") for second in range(30)),
    ]
    seen = (*looks("replica-1", "replica-2", end_s=11), *looks("replica-1", start_s=11))
    given: dict[str, Any] = {
        "groups": (*GROUPS, BOUNDED),
        "looks": tuple(seen),
        "promoted_s": 12.0,
        "returned": "primary",
        "facts": {"ran twice": 0},
    }
    return record([*calls, *changes.pop("more", [])], **(given | changes))


def without(calls: tuple[Call, ...], start_s: float, end_s: float, kind: Kind) -> tuple[Call, ...]:
    return tuple(it for it in calls if not (it.kind is kind and start_s <= it.due_s < end_s))


def verdict(name: str, run: Record) -> Verdict:
    found = ALL[name].judge(run)
    assert found is not None
    return found


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_run_that_is_well_keeps_it(name: str) -> None:
    assert verdict(name, well()).is_kept


BROKEN: dict[str, Record] = {
    "kill.errors": well(more=[call(12.5, None)]),
    "kill.gap": record([it for it in steady() if not 12 <= it.due_s < 15]),
    "kill.blocks": well(more=[call(12.5, None, kind=Kind.BLOCK)]),
    "kill.back": record(steady()),
    "freeze.goodput": well(more=[call(12.5, took_s=1.5)]),
    "freeze.worst": well(more=[call(12.5, took_s=1.5, caller=1)]),
    "freeze.out": well(looks=looks("replica-1", "replica-2")),
    "lag.stale": well(more=[write(1, 100), call(29.5, number=0)], bound_s=1.0),
    "all-down.writes": record(list(without(well().calls, 10, 15, Kind.WRITE))),
    "promote.writes": record(list(without(well().calls, 12, 15, Kind.WRITE)), promoted_s=12.0),
    "old-primary-returns.writes": well(more=[write(25, 100)]),
    "old-primary-returns.reads": well(more=[call(25, "primary")]),
    "primary-dead.bounded": well(more=[call(15, kind=Kind.BOUNDED)], bound_s=1.0),
    "primary-dead.reason": well(more=[call(15, None, kind=Kind.BOUNDED)]),
    "slow-statement.errors": well(more=[call(15, None, kind=Kind.SLOW)]),
    "slow-statement.twice": well(facts={"ran twice": 1}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_it_is_there_to_find_breaks_it(name: str) -> None:
    assert not verdict(name, BROKEN[name]).is_kept


def test_each_way_of_judging_is_broken_once() -> None:
    told = {promise.measure for promise in ALL.values()}
    assert {str(ALL[name].measure) for name in BROKEN} >= {
        str(measure) for measure in told if "partial" not in str(measure)
    }


def test_a_statement_in_flight_when_its_node_dies_is_no_broken_promise() -> None:
    in_flight = call(10.05, None, kind=Kind.BLOCK)
    assert verdict("kill.blocks", well(more=[in_flight])).is_kept


def test_a_bounded_read_that_says_why_keeps_the_promise() -> None:
    told = call(15, None, kind=Kind.BOUNDED, error="PrimaryUnavailable")
    assert verdict("primary-dead.reason", well(more=[told])).is_kept


def test_a_limit_is_kept_on_its_own_side_and_on_itself() -> None:
    ceiling, floor = _promise(1.5), _promise(99.5, at_least=True)
    assert [Verdict(ceiling, value).is_kept for value in (1.4, 1.5, 1.6, inf)] == [True, True, False, False]
    assert [Verdict(floor, value).is_kept for value in (99.4, 99.5, 100.0)] == [False, True, True]


def test_what_a_run_cannot_show_is_not_judged() -> None:
    assert judge([ALL["promote.writes"], ALL["freeze.out"]], record(steady())) == []


def test_every_drill_promises_something_under_its_own_name() -> None:
    assert list(DRILLS) == list(SCENARIOS)
    assert set(DRILLS) == set(PROMISES)
    assert all(
        promise.name.startswith(f"{drill}.") for drill, promises in PROMISES.items() for promise in promises
    )
    assert len(ALL) == sum(len(promises) for promises in PROMISES.values())


def _promise(limit: float, *, at_least: bool = False) -> Promise:
    return Promise("drill.it", "what", limit, "s", lambda _: 0.0, at_least)
