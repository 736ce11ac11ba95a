from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgfleet.core.intent import PLAIN
from pgfleet.core.node import Reason
from pgfleet.core.plan import Plan, plan_read
from pgfleet.core.topology import FED_FOR_S, Topology
from tests.unit.core.observations import down, fleet, saw_primary, saw_replica


def plan(topology: Topology, now_s: float = 11.0) -> Plan:
    return plan_read(topology, PLAIN, 10.0, now_s)


def well(replicas: int = 2) -> Topology:
    """All is well at 10.0, at LSN 500."""
    topology = fleet(replicas).observe("primary", saw_primary(10.0, 500))
    for n in range(1, replicas + 1):
        topology = topology.observe(f"replica-{n}", saw_replica(10.0, 500, incarnation=f"r{n}"))
    return topology


def test_at_first_nothing_is_known() -> None:
    topology = fleet(1)
    assert topology.primary is None
    assert plan(topology).left_out == (("primary", Reason.NOT_PROBED), ("replica-1", Reason.NOT_PROBED))
    with pytest.raises(KeyError):
        topology.node("replica-9")


def test_roles_are_what_servers_say_and_not_what_they_are_called() -> None:
    topology = fleet(1).observe("primary", saw_replica(10.0, 500))
    topology = topology.observe("replica-1", saw_primary(10.0, 500))
    assert topology.primary_name == "replica-1"
    assert plan(topology).replicas == ("primary",)


def test_a_replica_that_is_the_primary_serves_as_the_primary_only() -> None:
    topology = fleet(1).observe("primary", saw_primary(10.0, 500))
    topology = topology.observe("replica-1", saw_primary(10.1, 500))
    assert plan(topology).reason("replica-1") is Reason.IS_PRIMARY
    assert not topology.is_split, "one server under two names is no second primary"


def test_a_failure_takes_a_node_out_and_an_answer_brings_it_back() -> None:
    topology = well().fail("replica-1", down(12.0))
    assert plan(topology).reason("replica-1") is Reason.UNREACHABLE
    topology = topology.observe("replica-1", saw_replica(12.5, 500))
    assert plan(topology).reason("replica-1") is None


def test_an_answer_to_an_older_question_clears_no_trouble() -> None:
    topology = well().fail("replica-1", down(12.0))
    late = saw_replica(11.9, 500, answered_s=12.1)
    assert topology.observe("replica-1", late) is topology


def test_an_answer_to_an_older_question_replaces_no_newer_one() -> None:
    topology = well().observe("replica-1", saw_replica(12.0, 600))
    assert topology.observe("replica-1", saw_replica(11.0, 500, answered_s=13.0)) is topology


def test_trouble_keeps_the_moment_it_began() -> None:
    topology = well().fail("replica-1", down(12.0)).fail("replica-1", down(14.0, Reason.MISCONFIGURED))
    trouble = topology.node("replica-1").trouble
    assert trouble is not None
    assert (trouble.since_s, trouble.reason) == (12.0, Reason.MISCONFIGURED)


# clusters


def test_a_node_of_another_cluster_is_refused() -> None:
    topology = well().observe("replica-2", saw_replica(11.0, 500, system_id=8, incarnation="x"))
    assert plan(topology).reason("replica-2") is Reason.FOREIGN_CLUSTER
    assert plan(topology).replicas == ("replica-1",)


def test_a_primary_of_another_cluster_takes_no_writes() -> None:
    topology = well().observe("primary", saw_primary(11.0, 9000, system_id=8))
    assert topology.primary_name is None
    assert topology.system_id == 7
    assert plan(topology).reason("primary") is Reason.FOREIGN_CLUSTER


def test_until_the_primary_answers_most_nodes_tell_the_cluster() -> None:
    topology = fleet(3).observe("replica-1", saw_replica(10.0, 500, system_id=8, incarnation="x"))
    assert plan(topology).reason("replica-1") is Reason.CLUSTER_UNKNOWN
    topology = topology.observe("replica-2", saw_replica(10.0, 500, incarnation="y"))
    assert topology.system_id is None
    topology = topology.observe("replica-3", saw_replica(10.0, 500, incarnation="z"))
    assert topology.system_id is None, "two of four are not most"
    assert topology.observe("primary", saw_primary(10.0, 500)).system_id == 7


def test_the_same_server_under_two_names_counts_once() -> None:
    topology = well().observe("replica-2", saw_replica(11.0, 500, incarnation="r1"))
    assert plan(topology).replicas == ("replica-1",)
    assert plan(topology).reason("replica-2") is Reason.DUPLICATE
    topology = topology.fail("replica-1", down(12.0))
    assert plan(topology).replicas == ("replica-2",), "the other name stands in"


def test_of_the_primarys_two_names_the_first_is_its_name() -> None:
    """The limits of `DB_MAX_CONNECTIONS` belong to that name."""
    topology = (
        fleet(2).observe("replica-1", saw_primary(10.0, 500)).observe("primary", saw_primary(11.0, 500))
    )
    assert topology.primary_name == "primary"


# timelines

PROMOTED: dict[str, Any] = {"timeline": 2, "incarnation": "r2"}


def promoted() -> Topology:
    """replica-2 was promoted at LSN 500; the old primary is gone; replica-1 followed the old one up to 550."""
    topology = well().observe("replica-1", saw_replica(11.0, 550))
    topology = topology.fail("primary", down(12.0))
    return topology.observe("replica-2", saw_primary(13.0, 520, **PROMOTED))


def test_a_promoted_node_is_the_primary() -> None:
    topology = promoted()
    assert topology.primary_name == "replica-2"
    assert topology.highest_timeline == 2


def test_a_standby_of_the_old_primary_past_the_new_watermark_is_never_eligible() -> None:
    topology = promoted()
    for at_s, told in ((13.5, 1), (14.0, None), (60.0, 1)):
        topology = topology.observe("replica-2", saw_primary(at_s, 520, **PROMOTED))
        topology = topology.observe("replica-1", saw_replica(at_s, 550, timeline=told))
        assert plan(topology, at_s).reason("replica-1") is Reason.TIMELINE_UNPROVEN


def test_a_standby_that_tells_the_new_timeline_is_eligible() -> None:
    topology = promoted().observe("replica-1", saw_replica(13.5, 520, timeline=2, incarnation="r1"))
    assert plan(topology, 13.6).replicas == ("replica-1",)


def feed(topology: Topology, at_s: float, *standbys: str, lsn: int = 520) -> Topology:
    seen = saw_primary(at_s, lsn, standbys=frozenset(standbys), **PROMOTED)
    return topology.observe("replica-2", seen)


def ask(topology: Topology, at_s: float, lsn: int = 520, **more: Any) -> Topology:
    return topology.observe("replica-1", saw_replica(at_s, lsn, **({"timeline": 1} | more)))


def test_a_standby_that_the_primary_has_been_feeding_is_eligible_without_telling() -> None:
    topology = feed(feed(promoted(), 14.0, "Replica_1"), 14.0 + FED_FOR_S, "Replica_1")
    assert plan(topology, 15.0).reason("replica-1") is Reason.TIMELINE_UNPROVEN, "it was not asked since"
    asked_before = ask(topology, 14.4, answered_s=14.9)
    assert plan(asked_before, 15.0).reason("replica-1") is Reason.TIMELINE_UNPROVEN, (
        "only its answer came since"
    )
    assert plan(ask(topology, 14.6), 15.0).replicas == ("replica-1",)


def test_the_position_of_before_it_was_fed_proves_nothing() -> None:
    """It stood past the fork, was rewound and started again: what it told before says nothing of what it has now."""
    topology = ask(promoted(), 13.5, 550)
    topology = feed(feed(topology, 14.0, "replica_1"), 15.0, "replica_1")
    assert plan(topology, 15.0).reason("replica-1") is Reason.TIMELINE_UNPROVEN


def test_a_standby_that_is_turned_away_again_and_again_proves_nothing() -> None:
    """Each attempt shows it among the standbys for a moment."""
    topology = promoted()
    for at_s in range(14, 40):
        topology = feed(topology, float(at_s), *(["replica_1"] if at_s % 2 else []))
        topology = ask(topology, at_s + 0.1, 550)
        assert plan(topology, at_s + 0.2).reason("replica-1") is Reason.TIMELINE_UNPROVEN
    topology = feed(topology, 49.0)
    for retry_s in (50.001, 50.002, 50.003):  # new connections to the primary, all within one attempt
        topology = feed(topology, retry_s, "replica_1")
    assert plan(ask(topology, 50.1, 550), 50.2).reason("replica-1") is Reason.TIMELINE_UNPROVEN


def test_proven_once_a_standby_stays_proven_for_its_life() -> None:
    topology = ask(feed(feed(promoted(), 14.0, "replica_1"), 15.0, "replica_1"), 15.1)
    topology = ask(feed(topology, 16.0), 16.1, timeline=None)
    assert plan(topology, 16.2).replicas == ("replica-1",), (
        "its receiver stopped: it is late, but on the right way"
    )
    topology = ask(topology, 16.5, incarnation="another life")
    assert plan(topology, 16.6).reason("replica-1") is Reason.TIMELINE_UNPROVEN


def test_to_have_been_fed_by_the_primary_of_before_proves_nothing() -> None:
    topology = well()
    for at_s in (11.0, 12.0):
        topology = topology.observe("primary", saw_primary(at_s, 500, standbys=frozenset(("replica_1",))))
    topology = ask(feed(topology, 13.0, "replica_1"), 13.1, 550)
    assert plan(topology, 13.2).reason("replica-1") is Reason.TIMELINE_UNPROVEN


def test_a_timeline_that_has_no_samples_yet_makes_everybody_unproven() -> None:
    topology = replace(well(), highest_timeline=2)
    assert plan(topology).reason("replica-1") is Reason.TIMELINE_UNPROVEN


def test_a_returned_old_primary_is_fenced() -> None:
    topology = promoted().observe("primary", saw_primary(14.0, 9000))
    assert topology.primary_name == "replica-2"
    assert plan(topology, 14.0).reason("primary") is Reason.FENCED
    topology = topology.fail("replica-2", down(15.0))
    topology = topology.observe("primary", saw_primary(16.0, 9100))
    assert topology.primary_name is None, "also while the new one is away"


def test_positions_of_a_fenced_primary_are_no_samples() -> None:
    topology = promoted()
    before = topology.history
    assert topology.observe("primary", saw_primary(14.0, 9000)).history is before


def test_of_two_primaries_on_one_timeline_the_incumbent_stays() -> None:
    topology = well().observe("replica-1", saw_primary(11.0, 700, incarnation="rival"))
    assert topology.primary_name == "primary"
    assert topology.is_split
    assert (
        topology.observe("replica-1", saw_primary(12.0, 800, incarnation="rival")).primary_name == "primary"
    )


def test_with_two_primaries_a_timeline_proves_nothing() -> None:
    topology = well().observe("replica-1", saw_primary(11.0, 700, incarnation="rival"))
    assert plan(topology).reason("replica-2") is Reason.TIMELINE_UNPROVEN
    topology = topology.fail("replica-1", down(12.0))
    assert plan(topology).replicas == ("replica-2",)


def test_the_history_is_the_elected_primarys_alone() -> None:
    topology = well().observe("replica-1", saw_primary(11.0, 100, incarnation="rival"))
    assert topology.history.written_by is not None
    assert topology.history.written_by.incarnation == "p1"
