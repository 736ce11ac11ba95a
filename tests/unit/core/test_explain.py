from __future__ import annotations

from math import inf

from pgfleet.core.explain import explain
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.node import Role
from pgfleet.core.plan import plan_read
from tests.unit.core.observations import down, fleet, saw_primary, saw_replica

TOPOLOGY = (
    fleet()
    .observe("primary", saw_primary(10.0, 500))
    .observe("replica-1", saw_replica(10.0, 500, incarnation="r1"))
    .fail("replica-2", down(10.0))
)


def test_every_node_is_told_of_in_order_with_its_reason() -> None:
    told = explain(TOPOLOGY, plan_read(TOPOLOGY, PLAIN, 10.0, 11.0), 11.0)
    assert told.candidates == ("replica-1", "primary")
    assert str(told) == "primary: candidate\nreplica-1: candidate\nreplica-2: not answering"
    primary, first, second = told.nodes
    assert (primary.role, first.role, second.role) == (Role.PRIMARY, Role.REPLICA, None)
    assert (first.staleness_bound_s, first.lag_s) == (1.0, 0.0)
    assert (second.detail, second.candidate) == ("it said nothing", False)


def test_a_read_of_the_primary_says_so() -> None:
    told = explain(TOPOLOGY, plan_read(TOPOLOGY, ReadIntent(prefer_replica=False), 10.0, 11.0), 11.0)
    assert told.candidates == ("primary",)
    assert told.nodes[1].reason == "the read prefers the primary"


def test_without_a_primary_nobody_comes_after_the_replicas() -> None:
    lonely = TOPOLOGY.fail("primary", down(12.0))
    assert explain(lonely, plan_read(lonely, PLAIN, 10.0, 12.0), 12.0).candidates == ("replica-1",)


def test_what_a_read_must_see_and_who_lacks_how_much() -> None:
    topology = (
        TOPOLOGY.observe("primary", saw_primary(12.0, 900))
        .observe("replica-1", saw_replica(12.5, 700))
        .observe("replica-2", saw_replica(12.5, 900, incarnation="r2"))
    )
    intent = ReadIntent(not_before_s=11.0)
    told = explain(topology, plan_read(topology, intent, 10.0, 13.0), 13.0, intent)
    assert told.must_see == "0/384 on timeline 1"
    assert [(node.satisfied, node.behind_bytes) for node in told.nodes] == [
        (True, None),
        (False, 200),
        (True, 0),
    ]
    assert str(told).splitlines() == [
        "must see 0/384 on timeline 1",
        "primary: candidate",
        "replica-1: has not replayed what this read must see (200 bytes behind it)",
        "replica-2: candidate",
    ]
    for later, words in (
        (ReadIntent(not_before_s=12.0), "the next sample"),
        (ReadIntent(not_before_s=inf), "open"),
    ):
        told = explain(topology, plan_read(topology, later, 10.0, 13.0), 13.0, later)
        assert words in (told.must_see or "")
        assert told.candidates == ("primary",)
