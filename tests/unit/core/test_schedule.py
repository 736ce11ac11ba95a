from __future__ import annotations

import pytest

from pgfleet.core.node import Observation, Reason
from pgfleet.core.schedule import MISCONFIGURED_RETRY_S, RETRY_S, Pace
from pgfleet.core.topology import NodeState
from tests.unit.core.observations import down, saw_primary, saw_replica

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
