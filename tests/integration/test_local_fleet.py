"""A fleet as it comes up: roles, replication, who may log in, and what never shows a password."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import psycopg
import pytest

from pgfleet.errors import LocalFleetError
from pgfleet.local import LocalFleet, ServerState
from pgfleet.testing import eventually

REPLICAS = ("replica-1", "replica-2", "replica-3")


def password_of(dsn: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["password"])


def test_one_primary_and_three_streaming_replicas(any_fleet: LocalFleet) -> None:
    assert any_fleet.names == ("primary", *REPLICAS)
    assert any_fleet.primary == "primary"
    for status in any_fleet.status():
        assert status.state is ServerState.RUNNING
        assert (status.role, status.upstream) == (
            ("primary", None) if status.name == "primary" else ("replica", "primary")
        )
        assert status.is_streaming is (status.name != "primary")
        assert any_fleet.sql(status.name, "select pg_is_in_recovery()") == [
            ("f" if status.name == "primary" else "t",)
        ]


def test_each_replica_has_its_own_slot_and_application_name(any_fleet: LocalFleet) -> None:
    joined = "select slot_name, application_name from pg_replication_slots join pg_stat_replication on pid = active_pid"
    assert sorted(any_fleet.sql("primary", joined)) == [(name.replace("-", "_"), name) for name in REPLICAS]
    assert [any_fleet.node(name).slot for name in REPLICAS] == ["replica_1", "replica_2", "replica_3"]
    assert [any_fleet.node(name).application_name for name in REPLICAS] == list(REPLICAS)


def test_what_the_primary_commits_arrives_on_every_replica(any_fleet: LocalFleet) -> None:
    any_fleet.sql("primary", "create table arrival as select generate_series(1, 1000) as number")
    for name in REPLICAS:
        _await_table(any_fleet, name, "arrival")
        assert any_fleet.sql(name, "select sum(number) from arrival") == [("500500",)]


def _await_table(fleet: LocalFleet, name: str, table: str) -> None:
    eventually(lambda: fleet.sql(name, f"select to_regclass('{table}') is not null") == [("t",)])


def test_pg_rewind_finds_what_it_needs(any_fleet: LocalFleet) -> None:
    assert any_fleet.sql("primary", "show data_checksums") == [("on",)]


def test_both_roles_log_in_with_their_password_everywhere(any_fleet: LocalFleet) -> None:
    monitors = "select pg_has_role(current_user, 'pg_monitor', 'usage')"
    for name in any_fleet.names:
        for plain in (False, True):
            with psycopg.connect(any_fleet.dsn(name, plain=plain)) as connection:
                assert connection.execute(monitors).fetchone() == (not plain,)


def test_the_plain_role_reads_and_writes(any_fleet: LocalFleet) -> None:
    any_fleet.sql("primary", "create table made_by_superuser (number int)")
    with psycopg.connect(any_fleet.dsn("primary", plain=True)) as connection:
        connection.execute("insert into made_by_superuser values (1)")
        connection.execute("create table made_by_plain_role (number serial)")


@pytest.mark.parametrize("password", ["wrong", ""])
def test_nobody_logs_in_without_the_password(any_fleet: LocalFleet, password: str) -> None:
    for name in any_fleet.names:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(any_fleet.dsn(name), password=password, passfile=os.devnull)


def test_the_environment_is_the_seeds(any_fleet: LocalFleet) -> None:
    environ = any_fleet.environ(plain=True)
    assert environ.pop("DATABASE_URL") == any_fleet.dsn("primary", plain=True)
    assert environ.pop("USE_READ_REPLICAS") == "true"
    assert environ == {
        f"READ_REPLICA_{n}_CONNECTION_STRING": any_fleet.dsn(f"replica-{n}", plain=True) for n in (1, 2, 3)
    }


def test_passwords_stand_in_two_files_that_others_cannot_read(any_fleet: LocalFleet) -> None:
    secrets = [password_of(any_fleet.dsn("primary", plain)).encode() for plain in (False, True)]
    holders = {
        path
        for path in any_fleet.directory.rglob("*")
        if path.is_file() and any(s in path.read_bytes() for s in secrets)
    }
    assert {path.name for path in holders} == {"state.json", "pgpass"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}


def test_passwords_stand_in_no_repr_and_no_command_line(any_fleet: LocalFleet) -> None:
    secrets = [password_of(any_fleet.dsn("primary", plain)) for plain in (False, True)]
    shown = [
        repr(any_fleet),
        repr(any_fleet.status()),
        repr(any_fleet._cluster()),
        *_of_all_processes("cmdline", "environ"),
    ]
    assert not [text for text in shown if any(secret in text for secret in secrets)]


def _of_all_processes(*files: str) -> list[str]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        for file in files:
            try:
                found.append((directory / file).read_text(errors="replace"))
            except OSError:
                continue
    return found


def test_sql_returns_text_and_reports_what_the_server_says(any_fleet: LocalFleet) -> None:
    assert any_fleet.sql("primary", "select 1, null, 'ö'; select 2 where false; select 'x', true") == [
        ("x", "t")
    ]
    with pytest.raises(LocalFleetError, match=r"division by zero \(22012\)"):
        any_fleet.sql("primary", "select 1/0")
    with pytest.raises(LocalFleetError, match="does not answer"):
        any_fleet.sql("primary", "select pg_sleep(30)", timeout_s=0.2)


def test_a_name_that_is_not_there_is_told_with_those_that_are(any_fleet: LocalFleet) -> None:
    with pytest.raises(LocalFleetError, match="no node 'replica-9'") as caught:
        any_fleet.kill("replica-9")
    assert "primary, replica-1, replica-2, replica-3" in caught.value.hint


def test_up_again_and_attach_change_nothing(any_fleet: LocalFleet) -> None:
    before = [(status.pid, status.port) for status in any_fleet.status()]
    assert before == [(status.pid, status.port) for status in LocalFleet.up(any_fleet.directory).status()]
    assert before == [(status.pid, status.port) for status in LocalFleet.attach(any_fleet.directory).status()]
