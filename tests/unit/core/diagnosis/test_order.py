"""Causes before what they explain; the worst first."""

from __future__ import annotations

from pgfleet.core.diagnosis.finding import Finding, Severity
from pgfleet.core.diagnosis.order import about, in_order

CRITICAL, WARNING, NOTICE = Severity
NODES = ("primary", "replica-1", "replica-2")


def finding(name: str, severity: Severity, node: str, concerns: str = "") -> Finding:
    return Finding(name, severity, node, "", (), concerns)


def ordered(*findings: Finding) -> list[tuple[str, str, str]]:
    return [(f.id, f.node, f.because) for f in in_order(findings, NODES)]


def test_a_mild_cause_stands_before_a_bad_consequence() -> None:
    assert ordered(
        finding("replica-lags", CRITICAL, "replica-1"), finding("apply-delay", NOTICE, "replica-1")
    ) == [("apply-delay", "replica-1", ""), ("replica-lags", "replica-1", "apply-delay")]


def test_the_worst_stands_first_wherever_the_table_has_it() -> None:
    assert ordered(
        finding("same-server", WARNING, "replica-1"), finding("archive-failing", CRITICAL, "primary")
    ) == [("archive-failing", "primary", ""), ("same-server", "replica-1", "")]


def test_a_group_is_as_bad_as_its_worst() -> None:
    assert ordered(
        finding("same-server", WARNING, "primary"),
        finding("replica-lags", CRITICAL, "replica-1"),
        finding("apply-delay", NOTICE, "replica-1"),
    )[0] == ("apply-delay", "replica-1", "")


def test_a_cause_explains_its_own_node_alone() -> None:
    assert ordered(
        finding("node-silent", CRITICAL, "replica-1"),
        finding("slot-inactive", CRITICAL, "primary", "replica-2"),
        finding("slot-inactive", WARNING, "primary", "replica-1"),
    ) == [
        ("node-silent", "replica-1", ""),
        ("slot-inactive", "primary", "node-silent"),
        ("slot-inactive", "primary", ""),
    ]


def test_some_causes_explain_from_anywhere() -> None:
    assert ordered(
        finding("sync-standby-missing", CRITICAL, "primary"), finding("node-silent", CRITICAL, "replica-2")
    ) == [("node-silent", "replica-2", ""), ("sync-standby-missing", "primary", "node-silent")]


def test_a_chain_is_one_group() -> None:
    assert ordered(
        finding("replica-lags", CRITICAL, "replica-1"),
        finding("replay-paused", WARNING, "replica-1"),
        finding("setting-below-primary", CRITICAL, "replica-1"),
    ) == [
        ("setting-below-primary", "replica-1", ""),
        ("replay-paused", "replica-1", "setting-below-primary"),
        ("replica-lags", "replica-1", "setting-below-primary"),
    ]


def test_equals_go_in_the_order_of_the_table_then_of_the_nodes() -> None:
    assert ordered(
        finding("unlogged-tables", NOTICE, "primary"),
        finding("no-slot", NOTICE, "replica-2"),
        finding("no-slot", NOTICE, "replica-1"),
    ) == [("no-slot", "replica-1", ""), ("no-slot", "replica-2", ""), ("unlogged-tables", "primary", "")]


def test_of_one_node_is_what_concerns_it_and_the_chain_of_what_explains_that() -> None:
    """`because ... above` is never said of what is not shown."""
    whole = in_order(
        [
            finding("two-primaries", CRITICAL, "primary"),
            finding("wrong-timeline", CRITICAL, "replica-1"),
            finding("walreceiver-down", CRITICAL, "replica-1"),
            finding("no-walsender", CRITICAL, "replica-2", "replica-1"),
            finding("fsync-off", NOTICE, "primary"),
            finding("slot-inactive", WARNING, "primary", "replica-2"),
        ],
        NODES,
    )
    assert [f.id for f in about("replica-2", whole)] == [
        "two-primaries",
        "wrong-timeline",
        "no-walsender",
        "slot-inactive",
    ]
    assert [f.id for f in about("primary", whole)] == ["two-primaries", "slot-inactive", "fsync-off"]
