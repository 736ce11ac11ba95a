from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.board import Board, Node
from pgfleet.board.fallback import AnyPool, Gate
from pgfleet.board.shared import SharedGate
from pgfleet.core.ejection import TRUSTED, Phase, Standing
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.node import Reason
from pgfleet.core.plan import plan_read
from pgfleet.pool import Bound, Pool, PoolLimits
from tests.examples import examples
from tests.fakes import FakeConnection, HandClock, fleet_settings, fleet_world
from tests.unit.core.observations import saw_primary, saw_replica


def behind(pool: AnyPool) -> Pool[Any]:
    """The pool itself, also where a gate stands before it."""
    return pool.pool if isinstance(pool, Gate | SharedGate) else pool


def board(
    replicas: int = 3, clock: HandClock | None = None, **options: Any
) -> tuple[Board[FakeConnection], HandClock]:
    clock = clock or HandClock()
    world, wanted = fleet_world(replicas), fleet_settings(replicas, **options)
    nodes = []
    for node in (wanted.primary, *wanted.replicas):
        connector, bound = world.connector(node.dsn), Bound(4, clock)
        reads, writes = (Pool(connector, clock, PoolLimits(4), bound) for _ in range(2))
        nodes.append(Node(node.name, reads, writes, connector))
    return Board(wanted, nodes, clock), clock


def all_well(to: Board[FakeConnection], at_s: float, lsn: int = 500) -> None:
    to.observe("primary", saw_primary(at_s, lsn))
    for name in list(to.nodes)[1:]:
        to.observe(name, saw_replica(at_s, lsn, incarnation=name))


def turns(of: Board[FakeConnection], count: int) -> Counter[str]:
    names = {node.reads: name for name, node in of.nodes.items()}
    return Counter(names[behind(of.table.next_pool())] for _ in range(count))


EJECTED = Standing(Phase.EJECTED, 1000.0, 1001.0, part=0, detail="slow")
ON_TRIAL = Standing(Phase.ON_TRIAL, 1001.0, part=0, detail="slow")
WARMING = Standing(Phase.WARMING, 1001.0, part=2)


def stand(to: Board[FakeConnection], name: str, standing: Standing) -> None:
    before = {node.name: node.standing for node in to.topology.nodes}
    to.stand(before, before | {name: standing})


# the routing table is the plan

names = st.sampled_from(("primary", "replica-1", "replica-2", "replica-3"))
lsns = st.sampled_from((400, 500, 600))
events: st.SearchStrategy[tuple[str, Any, Any]] = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from((0.1, 1.0, 4.0, 9.0)), st.just({})),
    st.tuples(st.just("fail"), names, st.sampled_from((Reason.UNREACHABLE, Reason.MISCONFIGURED))),
    st.tuples(
        st.just("primary"),
        names,
        st.fixed_dictionaries({
            "lsn": lsns,
            "timeline": st.integers(1, 2),
            "system_id": st.sampled_from((7, 7, 7, 8)),
            "standbys": st.sampled_from((frozenset(), frozenset(("replica_1", "replica_2")))),
        }),
    ),
    st.tuples(
        st.just("replica"),
        names,
        st.fixed_dictionaries({
            "lsn": lsns,
            "timeline": st.sampled_from((None, 1, 2)),
            "system_id": st.sampled_from((7, 7, 7, 8)),
        }),
    ),
    st.tuples(st.just("twin"), names, st.fixed_dictionaries({"lsn": lsns})),
    st.tuples(st.just("stand"), names, st.sampled_from((TRUSTED, EJECTED, ON_TRIAL, WARMING))),
    st.tuples(st.just("offer"), names, st.just({})),
)  # fmt: skip
intents = st.builds(
    ReadIntent,
    st.booleans(),
    st.none() | st.just(1.0),
    st.none() | st.floats(990, 1100) | st.just(float("inf")),
)


def happen(to: Board[FakeConnection], clock: HandClock, what: str, name: Any, more: Any) -> None:
    if what == "wait":
        clock.now_s += name
    elif what == "fail":
        to.fail(name, more, "it said nothing")
    elif what == "stand":
        stand(to, name, more)
    elif what == "offer":
        to.offer([name])
    elif what == "primary":
        to.observe(name, saw_primary(clock.now_s, incarnation=f"{name} p", **more))
    else:
        life = "the same server" if what == "twin" else name
        to.observe(name, saw_replica(clock.now_s, incarnation=life, **more))


@examples(150)
@given(
    st.lists(events, max_size=25),
    st.booleans(),
    st.sampled_from(("round_robin", "least_in_flight")),
    intents,
    st.floats(0, 1.5),
)
def test_the_routing_table_is_the_plan(
    story: list[tuple[str, Any, Any]], enabled: bool, policy: str, intent: ReadIntent, share: float
) -> None:
    known, clock = board(use_replicas=enabled, policy=policy)
    for what, name, more in story:
        happen(known, clock, what, name, more)
        published = plan_read(known.topology, PLAIN, 10.0, clock.now_s)
        _hold(known, clock.now_s)
        later_s = min(published.valid_until_s, clock.now_s + 100.0)
        at_s = clock.now_s + share * (later_s - clock.now_s)
        if what != "wait":
            _hold(known, at_s)
            _hold_satisfied(known, intent, at_s)


def _hold(known: Board[FakeConnection], at_s: float) -> None:
    """What a plain read that comes now finds in the table is what a plan made now would say."""
    table, plan = known.table, plan_read(known.topology, PLAIN, 10.0, at_s)
    if at_s >= table.refresh_at_s:
        return  # the table is not used any more
    assert table.names == plan.replicas
    pool = behind(table.next_pool())
    (name,) = (name for name, node in known.nodes.items() if node.reads is pool)
    assert name in plan.replicas if plan.replicas else name == plan.primary


def _hold_satisfied(known: Board[FakeConnection], intent: ReadIntent, at_s: float) -> None:
    if at_s < known.table.refresh_at_s and known.table.satisfies(intent):
        wanted = plan_read(known.topology, intent, 10.0, at_s)
        assert set(known.table.names) <= set(wanted.replicas)
        assert known.table.names or wanted.primary


# turns


@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_round_robin_is_even(replicas: int) -> None:
    known, clock = board(replicas)
    all_well(known, clock.now_s)
    assert turns(known, 7 * replicas) == {f"replica-{n}": 7 for n in range(1, replicas + 1)}


def test_weights_are_honoured() -> None:
    known, clock = board(3, weights=[4, 2, 1])
    all_well(known, clock.now_s)
    assert turns(known, 70) == {"replica-1": 40, "replica-2": 20, "replica-3": 10}


def test_least_in_flight_rotates_ties() -> None:
    known, clock = board(3, policy="least_in_flight")
    all_well(known, clock.now_s)
    assert turns(known, 30) == {"replica-1": 10, "replica-2": 10, "replica-3": 10}


def test_new_knowledge_of_the_same_replicas_does_not_begin_the_round_anew() -> None:
    known, clock = board(3)
    all_well(known, clock.now_s)
    taken: Counter[str] = Counter()
    for n in range(30):
        taken += turns(known, 1)
        known.observe(
            f"replica-{n % 3 + 1}", saw_replica(clock.now_s, 500, incarnation=f"replica-{n % 3 + 1}")
        )
    assert set(taken.values()) == {10}


def test_rounds_begin_anywhere() -> None:
    """A hundred processes that start at once do not all begin with the first replica."""
    begun = set()
    for _ in range(60):
        known, clock = board(3)
        all_well(known, clock.now_s)
        begun |= set(turns(known, 1))
    assert len(begun) == 3


# slow ones


def test_an_ejected_replica_takes_no_turns() -> None:
    known, clock = board(3)
    all_well(known, clock.now_s)
    stand(known, "replica-2", EJECTED)
    assert turns(known, 10) == {"replica-1": 5, "replica-3": 5}
    assert known.plan(PLAIN).reason("replica-2") is Reason.EJECTED


@pytest.mark.parametrize("policy", ["round_robin", "least_in_flight"])
def test_a_replica_on_trial_takes_one_turn_for_each_offer(policy: str) -> None:
    known, clock = board(3, policy=policy)
    all_well(known, clock.now_s)
    stand(known, "replica-2", ON_TRIAL)
    assert turns(known, 10) == {"replica-1": 5, "replica-3": 5}
    for _ in range(2):
        known.offer(["replica-2"])
        known.observe("replica-1", saw_replica(clock.now_s, 500, incarnation="replica-1"))
        assert turns(known, 11) == {"replica-1": 5, "replica-2": 1, "replica-3": 5}


def test_a_replica_on_trial_comes_after_the_others_on_the_long_way_but_for_its_turn() -> None:
    known, clock = board(3)
    all_well(known, clock.now_s)
    stand(known, "replica-2", ON_TRIAL)
    mine = known.nodes["replica-2"].reads
    for first, at in ((None, 2), (mine, 0)) * 20:
        order = [node.name for node in known.in_turn(known.plan(PLAIN), frozenset(), first)]
        assert order.index("replica-2") == at
        assert order[-1] == "primary"


def test_a_replica_that_warms_up_takes_its_part() -> None:
    known, clock = board(3, weights=[2, 2, 1])
    all_well(known, clock.now_s)
    stand(known, "replica-2", WARMING)
    assert turns(known, 40) == {"replica-1": 20, "replica-2": 10, "replica-3": 10}


@pytest.mark.parametrize("what", ["restarts", "answers again", "is new"])
def test_a_replica_that_returns_begins_with_a_small_part(what: str) -> None:
    known, clock = board(2)
    known.observe("primary", saw_primary(clock.now_s, 500))
    known.observe("replica-2", saw_replica(clock.now_s, 500, incarnation="replica-2"))
    if what != "is new":
        known.observe("replica-1", saw_replica(clock.now_s, 500, incarnation="replica-1"))
    clock.now_s += 6.0
    if what == "answers again":
        known.fail("replica-1", Reason.UNREACHABLE, "it said nothing")
    life = "another" if what == "restarts" else "replica-1"
    known.observe("replica-1", saw_replica(clock.now_s, 500, incarnation=life))
    assert turns(known, 10) == {"replica-1": 2, "replica-2": 8}
    known.fail("replica-2", Reason.UNREACHABLE, "it said nothing")
    assert turns(known, 10) == {"replica-1": 10}


def test_what_became_of_a_replica_meanwhile_is_not_overruled() -> None:
    known, clock = board(2)
    all_well(known, clock.now_s)
    before = {node.name: node.standing for node in known.topology.nodes}
    known.fail("replica-1", Reason.UNREACHABLE, "it said nothing")
    known.observe("replica-1", saw_replica(clock.now_s + 1.0, 500, incarnation="replica-1"))
    known.stand(before, before | {"replica-1": EJECTED})
    assert known.topology.node("replica-1").standing.phase is Phase.WARMING


def test_when_too_few_are_left_the_ejected_serve_in_full() -> None:
    known, clock = board(3)
    all_well(known, clock.now_s)
    stand(known, "replica-2", EJECTED)
    known.fail("replica-3", Reason.UNREACHABLE, "it said nothing")
    assert turns(known, 10) == {"replica-1": 5, "replica-2": 5}


# fallback


def test_without_replicas_the_table_is_the_primary() -> None:
    known, clock = board(1)
    known.observe("primary", saw_primary(clock.now_s, 500))
    assert known.table.names == ()
    assert turns(known, 3) == {"primary": 3}
    assert known.table.satisfies(ReadIntent(not_before_s=float("inf")))


def test_without_anybody_the_table_is_never_used() -> None:
    known, clock = board(1)
    assert known.table.refresh_at_s < clock.now_s
    known.observe("primary", saw_primary(clock.now_s, 500))
    known.fail("primary", Reason.UNREACHABLE, "it said nothing")
    assert known.table.refresh_at_s < clock.now_s


def test_an_outage_is_told_once_with_every_reason(caplog: pytest.LogCaptureFixture) -> None:
    known, clock = board(2)
    all_well(known, clock.now_s)
    with caplog.at_level(logging.WARNING, "pgfleet"):
        for name in ("replica-1", "replica-2"):
            known.fail(name, Reason.UNREACHABLE, "it said nothing")
        turns(known, 5)
        known.fail("replica-1", Reason.UNREACHABLE, "again")
        turns(known, 5)
    told = [record.message for record in caplog.records]
    assert told == [
        "replica-1 is out: not answering (it said nothing)",
        "replica-2 is out: not answering (it said nothing)",
        "Read replica not available, reading from the primary: replica-1 not answering; replica-2 not answering",
    ]


def test_disabled_replicas_are_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    known, clock = board(1, use_replicas=False)
    known.observe("primary", saw_primary(clock.now_s, 500))
    turns(known, 3)
    assert not caplog.records


def test_an_answer_that_is_not_believed_changes_nothing() -> None:
    known, clock = board(1)
    all_well(known, clock.now_s)
    known.shut_down("replica-1")
    clock.now_s += 1.0
    known.fail("replica-1", Reason.UNREACHABLE, "it said nothing")
    table = known.table
    known.observe("replica-1", saw_replica(clock.now_s - 0.5, 500, incarnation="replica-1"))
    assert known.table is table
    assert known.shut_down("replica-1") == 2


# the order of the long way


def test_candidates_in_turn_come_with_the_free_ones_first_and_the_primary_last() -> None:
    known, clock = board(3)
    all_well(known, clock.now_s)
    full = known.nodes["replica-2"].reads
    full.size = 4
    first = known.nodes["replica-3"].reads
    order = [node.name for node in known.in_turn(known.plan(PLAIN), frozenset(), first)]
    assert order == ["replica-3", "replica-1", "replica-2", "primary"]
    rest = known.in_turn(known.plan(PLAIN), frozenset(("replica-3", "primary")), first)
    assert [node.name for node in rest] == ["replica-1", "replica-2"]


def test_marks_of_writers_are_kept_by_org() -> None:
    known, clock = board(1)
    write = known.writes.begin("org", None)
    assert known.writes.marks.last_write_s("org") == float("inf")
    clock.now_s += 1.0
    known.end_write(write, known.nodes["primary"], acknowledged=True)
    assert known.writes.marks.last_write_s("org") == clock.now_s
