"""The items of the replicas and of their lag, and the notices."""

from __future__ import annotations

import pytest

from pgfleet.core.explain import NodeExplanation
from pgfleet.core.node import Reason, Role
from pgfleet.core.topology import NodeState, Trouble
from pgfleet.verify.figures import HIDDEN, LagFigures, NodeFigures, ReplicaFigures
from pgfleet.verify.items import Outcome
from pgfleet.verify.judgements.fleet import lag_item, notices, replicas_item
from pgfleet.verify.looking import why_not_running

WELL = [ReplicaFigures(f"replica-{n}", receiver="streaming") for n in (1, 2, 3)]


def test_replicas_that_stream() -> None:
    item = replicas_item(WELL, 3, 3)
    assert item.outcome is Outcome.PASSED
    assert item.evidence == ("3 of 3 replicas answer and stream", "the primary has 3 standbys")
    assert item.figures == {"configured": 3, "streaming": 3, "wanted": 3, "standbys": 3}


@pytest.mark.parametrize(
    ("replica", "told"),
    [
        (ReplicaFigures("r", trouble="not answering: refused"), "r: not answering: refused"),
        (ReplicaFigures("r", receiver=None), "r: runs, but streams from nobody"),
        (ReplicaFigures("r", receiver="waiting"), "r: its receiver is waiting"),
    ],
)
def test_one_that_does_not(replica: ReplicaFigures, told: str) -> None:
    item = replicas_item([*WELL, replica], None, None)
    assert item.outcome is Outcome.FAILED
    assert item.evidence[:2] == (told, "3 of 4 replicas answer and stream")
    assert "pgfleet doctor" in item.next_step


@pytest.mark.parametrize(
    "replica",
    [
        ReplicaFigures("r", by_storage=True),
        ReplicaFigures("r", is_shared=True),
        ReplicaFigures("r", receiver=HIDDEN),
    ],
)
def test_one_that_streams_in_its_own_way(replica: ReplicaFigures) -> None:
    assert replicas_item([replica], None, None).outcome is Outcome.PASSED


def test_a_state_that_is_hidden_is_told() -> None:
    item = replicas_item([ReplicaFigures("r", receiver=HIDDEN)], None, 1)
    assert item.evidence[-1].startswith("our role is not shown")
    assert item.evidence[1] == "the primary has 1 standby"


def test_too_few_replicas_and_none() -> None:
    assert replicas_item(WELL, 4, 3).evidence[0] == "3 replicas are configured, 4 are wanted"
    assert replicas_item(WELL[:1], 3, 3).evidence[0] == "1 replica is configured, 3 are wanted"
    assert replicas_item([], None, 0).evidence[0] == "no replica is configured"


def lags(*seconds: float | None) -> list[LagFigures]:
    return [LagFigures(f"replica-{n}", 15, lag) for n, lag in enumerate(seconds, 1)]


def test_lags_below_a_second() -> None:
    item = lag_item(lags(0.0, 0.999), 1.5, writes=True)
    assert item.outcome is Outcome.PASSED
    assert item.evidence == ("at most replica-1 0.000 s, replica-2 0.999 s", "15 looks in 1.5 s")
    assert item.figures["max_lag_s"] == {"replica-1": 0.0, "replica-2": 0.999}


def test_a_second_is_too_much() -> None:
    item = lag_item(lags(0.0, 1.0), 1.5, writes=False)
    assert item.outcome is Outcome.FAILED
    assert item.evidence == (
        "replica-2: 1.000 s behind, the limit is 1 s",
        "at most replica-1 0.000 s",
        "15 looks in 1.5 s; nothing was written by us",
    )


def test_a_lag_that_was_not_measured_is_never_0() -> None:
    item = lag_item(lags(None), 1.5, writes=True)
    assert (item.outcome, item.evidence[0]) == (Outcome.FAILED, "replica-1: its lag could not be measured")
    gap = LagFigures("r", 3, 0.1, gap="not answering")
    assert lag_item([gap], 1.5, writes=True).evidence[0] == "r: not answering"
    assert lag_item([], 1.5, writes=True).outcome is Outcome.FAILED


def test_the_lag_of_a_shared_endpoint_is_that_of_one_of_its_servers() -> None:
    item = lag_item([LagFigures("readers", 15, 0.1, is_shared=True)], 1.5, writes=True)
    assert item.evidence[-1] == "of readers: of the server that answered the probes"


def told(reason: str | None) -> NodeExplanation:
    return NodeExplanation("r", Role.REPLICA, reason is None, reason, None, None, None)


@pytest.mark.parametrize("reason", [None, Reason.STALE, Reason.DRAINED, Reason.EJECTED])
def test_a_replica_that_takes_no_reads_may_run(reason: str | None) -> None:
    assert why_not_running(NodeState("r"), told(reason)) is None


@pytest.mark.parametrize("reason", [Reason.IS_PRIMARY, Reason.FOREIGN_CLUSTER, Reason.REPLICAS_DISABLED])
def test_a_node_that_is_no_replica_of_the_fleet_is_none_that_runs(reason: Reason) -> None:
    assert why_not_running(NodeState("r"), told(reason)) == reason


def test_trouble_is_told_in_the_driver_s_words() -> None:
    node = NodeState("r", trouble=Trouble(Reason.UNREACHABLE, "refused", 0.0))
    assert why_not_running(node, told(Reason.UNREACHABLE)) == "not answering: refused"


def test_plain_text_and_versions_are_noticed() -> None:
    nodes = [
        NodeFigures("primary", False, "15.18", False),
        NodeFigures("replica-1", True, "15.18", True),
        NodeFigures("replica-2", True, "15.20", False),
        NodeFigures("replica-3", True),
    ]
    plain, versions = notices(nodes)
    assert plain.startswith("Connections to replica-2 leave this machine without TLS")
    assert versions == "The servers differ in version: primary 15.18, replica-1 15.18, replica-2 15.20."
    assert notices(nodes[:2]) == ()
