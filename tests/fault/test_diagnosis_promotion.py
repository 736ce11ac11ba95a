"""A replica is promoted while the old primary lives: what the doctor says first, at each step back to health."""

from __future__ import annotations

from pgfleet.core.diagnosis.finding import Finding, Severity
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually
from tests.planned.stage import Case

PLAYED = (
    ("a replica is promoted while the old primary lives", "two-primaries", "primary"),
    ("the old primary dies then, and a standby was left behind", "tcp-refused", "primary"),
    ("after a failover the settings are as before", "roles-moved", "primary"),
)
"""The fault, and the id and node of the finding that must come first."""


def findings(fleet: LocalFleet, plain: bool = False) -> tuple[Finding, ...]:
    found = Case(fleet.environ(plain)).findings()
    return tuple(finding for finding in found if finding.severity is not Severity.NOTICE)


def heads(found: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(finding.id, finding.node) for finding in found]


def causes(found: tuple[Finding, ...]) -> dict[str, str]:
    return {finding.id: finding.because for finding in found}


def test_the_first_finding_is_the_cause_from_the_promotion_back_to_health() -> None:
    with LocalFleet.temporary(replicas=2) as fleet:
        fleet.promote("replica-2")
        two_primaries_come_first(fleet)
        fleet.kill("primary")
        eventually(lambda: fleet.sql("replica-1", "select count(*) from pg_stat_wal_receiver") == [("0",)])
        then_the_dead_one_and_who_was_left_behind(fleet)
        for name in ("primary", "replica-1"):
            fleet.rejoin(name)
        assert heads(findings(fleet)) == [PLAYED[2][1:], ("replica-is-primary", "replica-2")]


def two_primaries_come_first(fleet: LocalFleet) -> None:
    for plain in (False, True):
        found = findings(fleet, plain)
        assert heads(found)[0] == PLAYED[0][1:]
        assert causes(found)["replica-is-primary"] == "two-primaries"
        assert plain or causes(found)["wrong-timeline"] == "two-primaries"


def then_the_dead_one_and_who_was_left_behind(fleet: LocalFleet) -> None:
    found = findings(fleet)
    assert heads(found)[0] == PLAYED[1][1:]
    assert ("wrong-timeline", "replica-1") in heads(found)
    assert causes(found)["walreceiver-down"] == "wrong-timeline"
