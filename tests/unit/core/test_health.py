from __future__ import annotations

import pytest

from pgfleet.core.health import CRITICAL_LAG_S, WARNING_LAG_S, Status, is_healthy, replica_status
from pgfleet.core.node import Observation, Reason
from pgfleet.core.topology import Topology
from tests.unit.core.observations import down, fleet, saw_primary, saw_replica


def lagging(lag_s: float) -> Topology:
    """The primary wrote one position a second; the replica stands `lag_s` behind at 100.0."""
    topology = fleet(1)
    for at_s in (50.0, 100.0):
        topology = topology.observe("primary", saw_primary(at_s, 1000 * int(at_s)))
    return topology.observe("replica-1", saw_replica(100.0, int(1000 * (100.0 - lag_s))))


@pytest.mark.parametrize(
    ("lag_s", "status", "well"),
    [
        (0.0, Status.HEALTHY, True),
        (WARNING_LAG_S, Status.HEALTHY, True),
        (WARNING_LAG_S + 0.001, Status.WARNING, True),
        (CRITICAL_LAG_S, Status.WARNING, True),
        (CRITICAL_LAG_S + 0.001, Status.CRITICAL, False),
        (60.0, Status.CRITICAL, False),
    ],
)
def test_lag_is_judged_by_the_limits_of_the_alerts(lag_s: float, status: Status, well: bool) -> None:
    topology = lagging(lag_s)
    assert replica_status(topology, topology.node("replica-1")) is status
    assert is_healthy(topology, topology.node("replica-1")) is well


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (saw_replica(100.0, 100_000, system_id=8, incarnation="x"), Status.UNHEALTHY),
        (saw_primary(100.0, 100_000, incarnation="x", timeline=0), Status.UNHEALTHY),
        (saw_replica(100.0, 100_000, timeline=None, incarnation="x"), Status.UNKNOWN),
        (saw_replica(100.0, None), Status.UNKNOWN),
    ],
    ids=["foreign", "a primary", "unproven", "no position"],
)
def test_what_is_no_standby_of_ours_is_not_well(seen: Observation, status: Status) -> None:
    topology = fleet(1).observe("primary", saw_primary(100.0, 100_000)).observe("replica-1", seen)
    assert replica_status(topology, topology.node("replica-1")) is status
    assert not is_healthy(topology, topology.node("replica-1"))


def test_what_was_never_seen_is_unknown_and_what_fails_is_unhealthy() -> None:
    topology = fleet(1)
    assert replica_status(topology, topology.node("replica-1")) is Status.UNKNOWN
    topology = lagging(0.0).fail("replica-1", down(101.0, Reason.MISCONFIGURED))
    assert replica_status(topology, topology.node("replica-1")) is Status.UNHEALTHY


def test_the_primary_is_well_while_it_answers() -> None:
    topology = lagging(0.0)
    assert is_healthy(topology, topology.node("primary"))
    topology = topology.fail("primary", down(101.0))
    assert not is_healthy(topology, topology.node("primary"))
