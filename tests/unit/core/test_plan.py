from __future__ import annotations

from math import inf

import pytest

from pgfleet.core.explain import explain
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.node import Reason
from pgfleet.core.plan import Plan, lag_s, plan_read, staleness_bound_s
from pgfleet.core.topology import Topology
from tests.unit.core.observations import SETTLE_S, down, fleet, saw_primary, saw_replica

MAX_LAG_S = 10.0


def stands(first: int = 500, second: int = 500, **more: object) -> Topology:
    """At 10.0 the primary stood at 500, and its replicas where they are told to."""
    topology = fleet(**more).observe("primary", saw_primary(10.0, 500))  # type: ignore[arg-type]
    topology = topology.observe("replica-1", saw_replica(10.0, first, incarnation="r1"))
    return topology.observe("replica-2", saw_replica(10.0, second, incarnation="r2"))


def plan(topology: Topology, now_s: float = 10.0, **intent: object) -> Plan:
    return plan_read(topology, ReadIntent(**intent) if intent else PLAIN, MAX_LAG_S, now_s)  # type: ignore[arg-type]


def test_fresh_replicas_serve_and_the_primary_comes_after() -> None:
    both = plan(stands())
    assert (both.replicas, both.primary) == (("replica-1", "replica-2"), "primary")
    assert both.reason("primary") is Reason.IS_PRIMARY
    assert both.reason("replica-1") is None


def test_a_read_may_prefer_the_primary() -> None:
    assert plan(stands(), prefer_replica=False).replicas == ()
    assert plan(stands(), prefer_replica=False).primary == "primary"


def test_disabled_replicas_serve_nothing() -> None:
    assert plan(stands(use_replicas=False)).reason("replica-1") is Reason.REPLICAS_DISABLED


def test_time_makes_a_plan_run_out() -> None:
    fresh = plan(stands())
    assert fresh.valid_until_s == 10.0 + MAX_LAG_S
    assert fresh.refresh_at_s == 10.0 + MAX_LAG_S / 2
    assert fresh.covered_s == 10.0
    assert plan(stands(), 19.999).replicas == ("replica-1", "replica-2")
    assert plan(stands(), 20.0).reason("replica-1") is Reason.STALE


def test_a_replica_that_no_sample_reaches_has_no_known_staleness() -> None:
    assert plan(stands(first=499)).reason("replica-1") is Reason.STALENESS_UNKNOWN
    assert plan(stands(first=499)).replicas == ("replica-2",)


def test_a_replica_that_tells_no_position_has_no_known_staleness() -> None:
    topology = stands().observe("replica-1", saw_replica(11.0, None))
    assert plan(topology, 11.0).reason("replica-1") is Reason.STALENESS_UNKNOWN


def test_the_bound_of_a_read_is_strict() -> None:
    topology = stands()
    assert plan(topology, 10.4, max_lag_s=0.5).replicas
    assert not plan(topology, 10.5, max_lag_s=0.5).replicas
    assert plan(topology, 10.4, max_lag_s=0.5).valid_until_s == 10.5


def test_a_read_after_a_write_takes_who_covers_it() -> None:
    topology = stands(first=600).observe("primary", saw_primary(11.0, 600))
    assert plan(topology, 11.0, not_before_s=10.5).replicas == ("replica-1",)
    assert plan(topology, 11.0, not_before_s=10.5).reason("replica-2") is Reason.NOT_CAUGHT_UP
    assert plan(topology, 11.0, not_before_s=10.999).replicas == ("replica-1",)
    assert plan(topology, 11.0, not_before_s=11.0).replicas == (), (
        "asked in the same tick, it may have come before"
    )
    assert plan(topology, 11.0, not_before_s=inf).replicas == ()


def test_while_no_primary_answers_the_fleets_own_bound_stands_still() -> None:
    topology = stands().fail("primary", down(11.0))
    late = plan(topology, 10_000.0)
    assert late.replicas == ("replica-1", "replica-2")
    assert late.primary is None
    assert (late.valid_until_s, late.refresh_at_s) == (inf, inf)


def test_while_no_primary_answers_strict_reads_stay_strict() -> None:
    topology = stands().fail("primary", down(11.0))
    assert not plan(topology, 21.0, max_lag_s=MAX_LAG_S).replicas
    assert not plan(topology, 21.0, not_before_s=10.5).replicas
    assert plan(topology, 21.0, not_before_s=9.9).replicas


def test_a_frozen_bound_does_not_admit_who_was_too_stale_before() -> None:
    topology = stands(first=500, second=700)
    for at_s, lsn in ((15.0, 600), (21.0, 700)):
        topology = topology.observe("primary", saw_primary(at_s, lsn))
    topology = topology.fail("primary", down(22.0))
    assert plan(topology, 10_000.0).replicas == ("replica-2",)


@pytest.mark.parametrize(
    "reason", [Reason.UNREACHABLE, Reason.MISCONFIGURED, Reason.BUSY], ids=lambda reason: reason.name
)
def test_a_node_in_trouble_is_left_out_with_its_reason(reason: Reason) -> None:
    topology = stands().fail("replica-2", down(11.0, reason))
    assert plan(topology, 11.0).left_out == (("primary", Reason.IS_PRIMARY), ("replica-2", reason))


# what people read


def test_the_bound_and_the_lag_of_a_node() -> None:
    topology = stands(first=500).observe("primary", saw_primary(12.0, 700, flush=600))
    topology = topology.observe("replica-1", saw_replica(12.0, 550))
    replica = topology.node("replica-1")
    assert staleness_bound_s(topology, replica, 12.5) == 2.5
    assert lag_s(topology, replica) == pytest.approx(1.0)
    flushed = topology.observe("replica-1", saw_replica(12.1, 600))
    assert staleness_bound_s(flushed, flushed.node("replica-1"), 12.5) == pytest.approx(0.5 + SETTLE_S)
    assert lag_s(flushed, flushed.node("replica-1")) == 0.0


@pytest.mark.parametrize(
    "seen",
    [
        None,
        saw_replica(11.0, 600, system_id=8, incarnation="x"),
        saw_replica(11.0, 600, timeline=None, incarnation="x"),
        saw_replica(11.0, None),
        saw_replica(9.0, 400, incarnation="x"),
    ],
    ids=["never seen", "foreign", "unproven", "no position", "seen before the primary"],
)
def test_unknown_is_never_zero(seen: object) -> None:
    topology = fleet(1).observe("primary", saw_primary(10.0, 500))
    if seen is not None:
        topology = topology.observe("replica-1", seen)  # type: ignore[arg-type]
    replica = topology.node("replica-1")
    assert lag_s(topology, replica) is None
    assert staleness_bound_s(topology, replica, 11.0) is None
    shown = explain(topology, plan(topology, 11.0), 11.0).nodes[1]
    assert (shown.lag_s, shown.staleness_bound_s) == (None, None)


def test_the_primary_has_no_lag() -> None:
    topology = stands()
    assert lag_s(topology, topology.node("primary")) is None
    assert staleness_bound_s(topology, topology.node("primary"), 11.0) is None
