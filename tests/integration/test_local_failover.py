"""Promotion, the return of an old primary, and standbys that lost their way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from pgfleet.errors import LocalFleetError
from pgfleet.local import LocalFleet, LocalStatus, ServerState, build
from pgfleet.testing import eventually


@pytest.fixture(autouse=True)
def _mended(any_fleet: LocalFleet) -> Iterator[None]:
    """Each test begins with the first node as the primary of all others."""
    yield
    LocalFleet.up(any_fleet.directory)
    for found in any_fleet.status():
        if any_fleet.primary != found.name and (
            found.upstream != any_fleet.primary or not found.is_streaming
        ):
            any_fleet.rejoin(found.name)
    if any_fleet.primary != "primary":
        any_fleet.stop(any_fleet.primary)
        any_fleet.promote("primary")
        for name in any_fleet.names[1:]:
            any_fleet.rejoin(name)


def status(fleet: LocalFleet, name: str) -> LocalStatus:
    return next(status for status in fleet.status() if status.name == name)


def await_numbers(fleet: LocalFleet, name: str, table: str, *numbers: int) -> None:
    exists = f"select to_regclass('{table}') is not null"
    eventually(lambda: fleet.sql(name, exists) == [("t",)])
    wanted = [(str(number),) for number in numbers]
    eventually(lambda: fleet.sql(name, f"select distinct number from {table} order by 1") == wanted)


def create(fleet: LocalFleet, table: str) -> None:
    fleet.sql(fleet.primary, f"create table {table} (number int); insert into {table} values (1)")
    for name in fleet.names:
        await_numbers(fleet, name, table, 1)


def test_promote_makes_a_primary_on_a_new_timeline_and_leaves_the_others(any_fleet: LocalFleet) -> None:
    before = status(any_fleet, "primary").timeline
    any_fleet.kill("primary")
    any_fleet.promote("replica-2")
    assert any_fleet.primary == "replica-2"
    assert any_fleet.sql("replica-2", "select pg_is_in_recovery()") == [("f",)]
    assert status(any_fleet, "replica-2").timeline == before + 1
    stray = status(any_fleet, "replica-1")
    assert (stray.role, stray.upstream, stray.timeline, stray.lag_bytes) == (
        "replica",
        "primary",
        before,
        None,
    )
    with pytest.raises(LocalFleetError, match="primary already"):
        any_fleet.promote("replica-2")
    with pytest.raises(LocalFleetError, match="present primary"):
        any_fleet.rejoin("replica-2")


@pytest.mark.parametrize("was_killed", [True, False], ids=["crashed", "still running"])
def test_an_old_primary_rejoins_by_rewinding_and_loses_what_only_it_had(
    any_fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch, was_killed: bool
) -> None:
    create(any_fleet, table := f"rewound_{was_killed}")
    if was_killed:
        any_fleet.kill("primary")
    any_fleet.promote("replica-1")
    any_fleet.sql("replica-1", f"insert into {table} values (2)")
    if was_killed:
        any_fleet.start("primary")
    any_fleet.sql("primary", f"insert into {table} values (3)")
    assert any_fleet.primary == "replica-1"
    monkeypatch.setattr(build, "copy_running", None)
    any_fleet.rejoin("primary")
    await_numbers(any_fleet, "primary", table, 1, 2)
    rejoined = status(any_fleet, "primary")
    assert (rejoined.role, rejoined.upstream, rejoined.is_streaming) == ("replica", "replica-1", True)
    assert rejoined.timeline == status(any_fleet, "replica-1").timeline


@pytest.mark.parametrize("was_killed", [True, False], ids=["crashed", "running"])
def test_a_stray_standby_follows_the_new_primary_with_no_slot_left_behind(
    any_fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch, was_killed: bool
) -> None:
    monkeypatch.setattr(build, "copy_running", None)
    create(any_fleet, table := f"stray_{was_killed}")
    any_fleet.stop("primary")
    if was_killed:
        any_fleet.kill("replica-3")
    any_fleet.promote("replica-1")
    any_fleet.sql("replica-1", f"insert into {table} values (2)")
    for name in ("primary", "replica-2", "replica-3"):
        any_fleet.rejoin(name)
    for name in any_fleet.names:
        await_numbers(any_fleet, name, table, 1, 2)
    for name in ("primary", "replica-2", "replica-3"):
        assert any_fleet.sql(name, "select slot_name from pg_replication_slots") == []
    slots = any_fleet.sql("replica-1", "select slot_name from pg_replication_slots where active order by 1")
    assert slots == [("primary",), ("replica_2",), ("replica_3",)]


def test_a_node_whose_data_are_beyond_rewinding_takes_a_new_copy(any_fleet: LocalFleet) -> None:
    create(any_fleet, "copied")
    any_fleet.kill("replica-2")
    shutil.rmtree(any_fleet.node("replica-2").data_directory / "global")
    any_fleet.rejoin("replica-2")
    await_numbers(any_fleet, "replica-2", "copied", 1)
    assert status(any_fleet, "replica-2").is_streaming


def test_a_standby_that_received_more_than_it_replayed_does_not_replay_what_was_lost(
    any_fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_rewind finds nothing to undo there: what it has not replayed is not in its data."""
    monkeypatch.setattr(build, "copy_running", None)
    create(any_fleet, "unreplayed")
    any_fleet.lag("replica-3", paused=True)
    any_fleet.stop("replica-1")
    any_fleet.sql("primary", "insert into unreplayed values (2)")
    await_numbers(any_fleet, "replica-2", "unreplayed", 1, 2)
    sent = "select pg_wal_lsn_diff(sent_lsn, flush_lsn) from pg_stat_replication where application_name = 'replica-3'"
    eventually(lambda: any_fleet.sql("primary", sent) == [("0",)])
    any_fleet.kill("primary")
    any_fleet.start("replica-1")
    any_fleet.promote("replica-1")
    any_fleet.sql("replica-1", "insert into unreplayed values (3)")
    any_fleet.rejoin("replica-3")
    await_numbers(any_fleet, "replica-3", "unreplayed", 1, 3)


def test_a_slot_that_lost_its_wal_is_replaced_and_the_node_copied(any_fleet: LocalFleet) -> None:
    create(any_fleet, "outrun")
    any_fleet.stop("replica-2")
    any_fleet.sql("primary", "alter system set max_slot_wal_keep_size = 0; ", timeout_s=30)
    any_fleet.sql("primary", "select pg_reload_conf()")
    lost = "select wal_status from pg_replication_slots where slot_name = 'replica_2'"

    def is_lost() -> bool:
        any_fleet.sql("primary", "select pg_switch_wal()")
        any_fleet.sql("primary", "insert into outrun values (2)")
        any_fleet.sql("primary", "checkpoint", timeout_s=30)
        return any_fleet.sql("primary", lost) == [("lost",)]

    eventually(is_lost, within_s=30)
    any_fleet.sql("primary", "alter system reset max_slot_wal_keep_size")
    any_fleet.sql("primary", "select pg_reload_conf()")
    any_fleet.rejoin("replica-2")
    assert any_fleet.sql("primary", lost) != [("lost",)]
    await_numbers(any_fleet, "replica-2", "outrun", 1, 2)


def test_up_after_a_failover_makes_the_old_primary_a_standby(any_fleet: LocalFleet) -> None:
    create(any_fleet, "outlived")
    any_fleet.kill("primary")
    any_fleet.promote("replica-1")
    any_fleet.sql("replica-1", "insert into outlived values (2)")
    for name in any_fleet.names:
        any_fleet.kill(name)
    LocalFleet.up(any_fleet.directory)
    assert any_fleet.primary == "replica-1"
    assert [status.role for status in any_fleet.status()] == ["replica", "primary", "replica", "replica"]
    assert {status.state for status in any_fleet.status()} == {ServerState.RUNNING}
    await_numbers(any_fleet, "primary", "outlived", 1, 2)


def test_rejoin_needs_a_primary_that_runs(any_fleet: LocalFleet) -> None:
    any_fleet.kill("primary")
    with pytest.raises(LocalFleetError, match="primary is stopped"):
        any_fleet.rejoin("replica-1")
    any_fleet.start("primary")
