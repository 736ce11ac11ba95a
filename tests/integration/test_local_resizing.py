"""Replicas that join a local fleet while it runs, and leave it."""

from __future__ import annotations

import subprocess
import sys
from signal import SIGKILL

import pytest

from pgfleet.errors import LocalFleetError
from pgfleet.local import LocalFleet
from pgfleet.local.processes import processes_of
from pgfleet.local.resizing import NOBODY_S_TITLE
from pgfleet.testing import eventually


def slots(fleet: LocalFleet) -> list[str]:
    return [
        slot for (slot,) in fleet.sql(fleet.primary, "select slot_name from pg_replication_slots order by 1")
    ]


def test_a_replica_joins_has_all_that_the_primary_has_and_leaves_nothing(any_fleet: LocalFleet) -> None:
    any_fleet.sql("primary", "create table stays as select 7 as number")
    told: list[str] = []
    any_fleet.add_replica("reports", told.append, owner="hotel")
    assert told == ["copying primary", "starting"]
    assert (any_fleet.names[-1], any_fleet.owner("reports"), any_fleet.owner("replica-1")) == (
        "reports",
        "hotel",
        "",
    )
    assert any_fleet.sql("reports", "select number, pg_is_in_recovery() from stays") == [("7", "t")]
    any_fleet.sql("primary", "insert into stays values (8)")
    eventually(lambda: any_fleet.sql("reports", "select count(*) from stays") == [("2",)])
    assert "reports" in slots(any_fleet)

    any_fleet.remove_replica("reports")
    assert any_fleet.names == ("primary", "replica-1", "replica-2", "replica-3")
    assert slots(any_fleet) == ["replica_1", "replica_2", "replica_3"]
    assert not (any_fleet.directory / "nodes" / "reports").exists()
    any_fleet.sql("primary", "drop table stays")


def test_one_that_is_down_leaves_too(fleet: LocalFleet) -> None:
    fleet.add_replica("replica-4")
    fleet.kill("replica-4")
    fleet.remove_replica("replica-4")
    assert not fleet.remnants
    assert "replica_4" not in slots(fleet)


def test_a_restarted_fleet_has_the_new_one(fleet: LocalFleet) -> None:
    fleet.add_replica("replica-4")
    fleet.stop("replica-4")
    LocalFleet.up(fleet.directory)
    assert {status.name: status.is_streaming for status in fleet.status()}["replica-4"]
    fleet.remove_replica("replica-4")


def test_what_a_killed_join_left_is_seen_and_taken_up_or_away(fleet: LocalFleet) -> None:
    """Its directory is there before anything else is, its slot before its copy."""
    (fleet.directory / "nodes" / "half").mkdir()
    fleet.sql("primary", "select pg_create_physical_replication_slot('half', true)")
    assert fleet.remnants == ("half",)
    fleet.add_replica("half")
    assert not fleet.remnants
    assert "half" in fleet.names
    fleet.remove_replica("half")
    (fleet.directory / "nodes" / "half").mkdir()
    fleet.sql("primary", "select pg_create_physical_replication_slot('half', true)")
    fleet.remove_replica("half")
    assert not fleet.remnants
    assert "half" not in slots(fleet)


def test_a_copy_that_outlived_its_starter_is_ended_before_the_next_one_begins(fleet: LocalFleet) -> None:
    """Both would write into one directory."""
    data = fleet.directory / "nodes" / "half" / "data"
    data.mkdir(parents=True)
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", data], stdin=subprocess.PIPE
    )
    try:
        eventually(lambda: processes_of(str(data), NOBODY_S_TITLE))
        fleet.add_replica("half")
        assert orphan.wait(10) == -SIGKILL
    finally:
        orphan.kill()
        orphan.communicate()
    fleet.remove_replica("half")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("replica-1", "'replica-1' is in the fleet already"),
        ("Reports", "no name of a node"),
        ("../x", "no name of a node"),
    ],
)
def test_a_name_that_cannot_be_is_refused(fleet: LocalFleet, name: str, told: str) -> None:
    with pytest.raises(LocalFleetError, match=told):
        fleet.add_replica(name)


def test_a_primary_and_a_stranger_are_not_removed(fleet: LocalFleet) -> None:
    with pytest.raises(LocalFleetError, match="primary is a primary"):
        fleet.remove_replica("primary")
    with pytest.raises(LocalFleetError, match="there is no node 'reports'"):
        fleet.remove_replica("reports")


def test_each_replica_has_a_number_of_its_own_in_the_environment(fleet: LocalFleet) -> None:
    fleet.add_replica("reports")
    environ = fleet.environ()
    assert environ["READ_REPLICA_4_CONNECTION_STRING"] == fleet.dsn("reports")
    assert environ["READ_REPLICA_4_NAME"] == "reports"
    assert environ["READ_REPLICA_3_CONNECTION_STRING"] == fleet.dsn("replica-3")
    fleet.remove_replica("reports")
