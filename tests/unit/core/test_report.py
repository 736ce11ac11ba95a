"""What the reports say of fleets in every state, from values alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pgfleet.core import report
from pgfleet.core.explain import explain
from pgfleet.core.intent import PLAIN
from pgfleet.core.lsn import Lsn
from pgfleet.core.node import Observation, Reason, Role
from pgfleet.core.plan import plan_read
from pgfleet.core.report import PoolStats
from pgfleet.core.topology import NodeState, Topology, Trouble

NOW = "2026-01-31T09:30:00.000Z"
MAX_LAG_S = 10.0
PRIMARY = Observation(
    asked_s=0.0,
    answered_s=0.0,
    role=Role.PRIMARY,
    system_id=7,
    incarnation="primary",
    server_version=180006,
    timeline=1,
    insert_lsn=Lsn(100),
    flush_lsn=Lsn(100),
)
REPLICA = replace(PRIMARY, role=Role.REPLICA, insert_lsn=None, flush_lsn=None, replay_lsn=Lsn(100))


def fleet(*lags_s: float, use_replicas: bool = True) -> Topology:
    """A primary, and a replica for each lag, all looked at when the longest of the lags was over."""
    names = [f"replica-{number}" for number in range(1, len(lags_s) + 1)]
    topology = Topology(tuple(NodeState(name) for name in ("primary", *names)), use_replicas)
    end_s = max(lags_s, default=0.0)
    for moment_s in sorted({0.0, *(end_s - lag_s for lag_s in lags_s), end_s}):
        topology = topology.observe("primary", primary_at(moment_s))
    for name, lag_s in zip(names, lags_s, strict=True):
        stands = Lsn(100 + round(1000 * (end_s - lag_s)))
        topology = topology.observe(
            name, replace(REPLICA, asked_s=end_s, incarnation=name, replay_lsn=stands)
        )
    return topology


def primary_at(moment_s: float) -> Observation:
    """The primary writes a byte a millisecond."""
    lsn = Lsn(100 + round(1000 * moment_s))
    return replace(PRIMARY, asked_s=moment_s, answered_s=moment_s, insert_lsn=lsn, flush_lsn=lsn)


def broken(topology: Topology, name: str) -> Topology:
    return topology.fail(name, Trouble(Reason.UNREACHABLE, "connection refused", 0.0))


def lags(topology: Topology, now_s: float = 0.0) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = report.lag_report(topology, MAX_LAG_S, now_s, NOW)["replicas"]
    return rows


def health(topology: Topology) -> tuple[bool, str]:
    told = report.health_report(topology, NOW)
    return told["healthy"], told["message"]


@pytest.mark.parametrize(
    ("lag_s", "status"),
    [
        (0.0, "healthy"),
        (5.0, "healthy"),
        (5.001, "warning"),
        (10.0, "warning"),
        (10.001, "critical"),
        (86_400.0, "critical"),
    ],
)
def test_the_status_is_the_alerts_status(lag_s: float, status: str) -> None:
    (row,) = lags(fleet(lag_s))
    assert (row["lagSeconds"], row["status"]) == (lag_s, status)


def test_a_lag_is_told_to_the_millisecond() -> None:
    topology = fleet(1.0)
    seen = topology.node("replica-1").observation
    assert seen is not None
    (row,) = lags(topology.observe("replica-1", replace(seen, asked_s=seen.asked_s + 0.000_4)))
    assert row["lagSeconds"] == 1.0


def test_a_replica_that_takes_reads_has_no_reason() -> None:
    assert lags(fleet(0.0)) == [
        {"name": "replica-1", "lagSeconds": 0.0, "status": "healthy", "reason": None, "detail": None}
    ]


def test_a_critical_replica_takes_no_plain_reads() -> None:
    (row,) = lags(fleet(11.0), now_s=11.0)
    assert row["reason"] == "is staler than the read allows"


def test_every_replica_is_listed_in_order_the_dead_ones_too() -> None:
    rows = lags(broken(fleet(0.0, 6.0, 0.0), "replica-2"))
    assert [row["name"] for row in rows] == ["replica-1", "replica-2", "replica-3"]
    assert rows[1] == {
        "name": "replica-2",
        "lagSeconds": None,
        "status": "unhealthy",
        "reason": "not answering",
        "detail": "connection refused",
    }


def test_a_lag_that_was_not_measured_is_null() -> None:
    topology = Topology((NodeState("primary"), NodeState("replica-1")))
    (row,) = lags(topology)
    assert (row["lagSeconds"], row["status"], row["reason"]) == (None, "unknown", "not probed yet")


def test_a_standby_of_another_cluster_is_unhealthy_and_its_lag_unknown() -> None:
    seen = replace(REPLICA, asked_s=1.0, system_id=8, incarnation="foreign")
    (row,) = lags(fleet(0.0).observe("replica-1", seen))
    assert (row["lagSeconds"], row["status"]) == (None, "unhealthy")
    assert row["reason"] == "belongs to another cluster"


def test_disabled_replicas_are_listed_with_that_reason() -> None:
    topology = Topology((NodeState("primary"), NodeState("replica-1")), use_replicas=False)
    (row,) = lags(topology.observe("primary", PRIMARY))
    assert (row["status"], row["reason"]) == ("unknown", "read replicas are disabled")


@pytest.mark.parametrize(
    ("topology", "verdict"),
    [
        (fleet(0.0, 0.0, 0.0), (True, "All 3 replicas are healthy")),
        (fleet(0.0, 6.0, 0.0), (True, "All 3 replicas are healthy")),
        (fleet(0.0, 11.0, 0.0), (False, "2 of 3 replicas are healthy")),
        (broken(fleet(0.0, 0.0, 0.0), "replica-3"), (False, "2 of 3 replicas are healthy")),
        (broken(fleet(0.0), "replica-1"), (False, "0 of 1 replicas are healthy")),
        (fleet(), (False, "No replicas are configured")),
        (fleet(use_replicas=False), (True, "Read replicas are disabled")),
        (fleet(0.0, use_replicas=False), (True, "Read replicas are disabled")),
    ],
)
def test_the_health_is_one_sentence(topology: Topology, verdict: tuple[bool, str]) -> None:
    assert health(topology) == verdict


def test_the_health_counts_what_is_enabled() -> None:
    assert report.health_report(fleet(0.0, 11.0), NOW) == {
        "healthy": False,
        "timestamp": NOW,
        "replicasEnabled": True,
        "replicaCount": 2,
        "healthyCount": 1,
        "primary": "primary",
        "message": "1 of 2 replicas are healthy",
    }
    assert report.health_report(fleet(0.0, use_replicas=False), NOW)["replicaCount"] == 0


def test_a_dead_primary_is_told_and_leaves_its_replicas_healthy() -> None:
    told = report.health_report(broken(fleet(0.0), "primary"), NOW)
    assert (told["healthy"], told["primary"]) == (True, None)


def test_a_promoted_replica_is_no_healthy_replica() -> None:
    promoted = replace(primary_at(1.0), incarnation="replica-1", timeline=2)
    told = report.health_report(fleet(0.0, 0.0).observe("replica-1", promoted), NOW)
    assert (told["healthy"], told["primary"]) == (False, "replica-1")


def test_a_node_has_one_limit_and_two_pools() -> None:
    pools = (PoolStats(active=2, idle=1, waiting=3, max_connections=5), PoolStats(4, 3, 0, 20))
    assert report.pool_connections(pools) == {
        "total_connections": 10,
        "active_connections": 6,
        "idle_connections": 4,
        "max_connections": 20,
        "utilisation": 0.3,
        "waiting": 3,
    }


def test_the_utilisation_of_nothing_is_unknown() -> None:
    assert report.connections(0, 0, 0, taken=0)["utilisation"] is None


def pools(reads: int, writes: int = 0) -> tuple[PoolStats, PoolStats]:
    return PoolStats(leases=reads), PoolStats(leases=writes)


def test_the_share_is_of_all_reads() -> None:
    counted = {"primary": pools(20, 7), "replica-1": pools(50), "replica-2": pools(30)}
    assert report.distribution(counted, "primary") == {
        "primary": {"reads": 20, "writes": 7},
        "replicas": {"replica-1": {"reads": 50, "writes": 0}, "replica-2": {"reads": 30, "writes": 0}},
        "replicaReadShare": 0.8,
    }


def test_before_the_first_read_there_is_no_share() -> None:
    assert report.distribution({"primary": pools(0, 9)}, "primary")["replicaReadShare"] is None


def test_one_who_routes_nothing_counts_nothing() -> None:
    assert report.no_distribution(fleet(0.0)) == {
        "primary": {"reads": None, "writes": None},
        "replicas": {"replica-1": {"reads": None, "writes": None}},
        "replicaReadShare": None,
    }


def test_an_explanation_keeps_its_order_and_is_json() -> None:
    topology = broken(fleet(0.0, 0.25, 0.0), "replica-3")
    plan = plan_read(topology, PLAIN, MAX_LAG_S, 1.0)
    told = report.explanation_report(explain(topology, plan, 1.0), NOW)
    assert told["candidates"] == ["replica-1", "replica-2", "primary"]
    assert told["nodes"][2] == {
        "name": "replica-2",
        "role": "replica",
        "candidate": True,
        "reason": None,
        "detail": None,
        "stalenessBoundSeconds": 1.0,
        "lagSeconds": 0.25,
        "satisfied": None,
        "behindBytes": None,
    }
    assert told["mustSee"] is None
    assert told["nodes"][3]["reason"] == "not answering"
    assert json.loads(json.dumps(told)) == told
