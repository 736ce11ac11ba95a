"""What can be done to one node, and how it comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading

import psycopg
import pytest

from pgfleet.errors import LocalFleetError
from pgfleet.local import LocalFleet, ServerState
from pgfleet.local.processes import Process
from pgfleet.testing import eventually


def processes(fleet: LocalFleet, name: str) -> list[Process]:
    return fleet._cluster().server(name).processes()


def state(fleet: LocalFleet, name: str) -> ServerState:
    return next(status.state for status in fleet.status() if status.name == name)


def count(fleet: LocalFleet, name: str, table: str) -> int:
    return int(fleet.sql(name, f"select count(*) from {table}")[0][0])


@pytest.mark.parametrize("name", ["replica-1", "primary"])
def test_kill_leaves_nothing_and_start_brings_it_back_where_it_was(any_fleet: LocalFleet, name: str) -> None:
    port = any_fleet.node(name).port
    any_fleet.kill(name)
    assert processes(any_fleet, name) == []
    assert state(any_fleet, name) is ServerState.STOPPED
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    any_fleet.kill(name)
    any_fleet.start(name)
    any_fleet.start(name)
    assert any_fleet.sql(name, "show port") == [(str(port),)]


def test_a_node_starts_at_once_after_each_of_many_kills(any_fleet: LocalFleet) -> None:
    for _ in range(5):
        any_fleet.kill("replica-1")
        any_fleet.start("replica-1")
        assert any_fleet.sql("replica-1", "select 1") == [("1",)]


def test_stop_and_restart_keep_the_port(any_fleet: LocalFleet) -> None:
    any_fleet.stop("replica-2")
    assert state(any_fleet, "replica-2") is ServerState.STOPPED
    any_fleet.stop("replica-2")
    any_fleet.restart("replica-2")
    before = any_fleet.sql("replica-2", "select pg_postmaster_start_time()")
    any_fleet.restart("replica-2")
    assert any_fleet.sql("replica-2", "select pg_postmaster_start_time()") != before


def test_a_frozen_node_takes_connections_and_answers_nobody(any_fleet: LocalFleet) -> None:
    with psycopg.connect(any_fleet.dsn("replica-1"), autocommit=True) as connection:
        any_fleet.freeze("replica-1")
        assert state(any_fleet, "replica-1") is ServerState.FROZEN
        with socket.create_connection(("127.0.0.1", any_fleet.node("replica-1").port)) as unheard:
            unheard.settimeout(0.3)
            unheard.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # may I speak TLS?
            with pytest.raises(TimeoutError):
                unheard.recv(1)
        any_fleet.thaw("replica-1")
        assert connection.execute("select 1").fetchone() == (1,)
    assert state(any_fleet, "replica-1") is ServerState.RUNNING


def test_freezing_reaches_children_that_are_being_forked(any_fleet: LocalFleet) -> None:
    ended, address = threading.Event(), ("127.0.0.1", any_fleet.node("replica-1").port)

    def knock() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):  # the queue of a frozen server is soon full
                socket.create_connection(address, 0.1).close()

    knocking = [threading.Thread(target=knock) for _ in range(2)]
    for thread in knocking:
        thread.start()
    try:
        for _ in range(5):
            any_fleet.freeze("replica-1")
            assert all(process.is_stopped for process in processes(any_fleet, "replica-1"))
            any_fleet.thaw("replica-1")
    finally:
        ended.set()
        for thread in knocking:
            thread.join()


def test_a_frozen_node_is_started_only_by_thawing(any_fleet: LocalFleet) -> None:
    any_fleet.freeze("replica-1")
    with pytest.raises(LocalFleetError, match="frozen") as caught:
        any_fleet.start("replica-1")
    assert "thaw replica-1" in caught.value.hint
    any_fleet.restart("replica-1")
    assert state(any_fleet, "replica-1") is ServerState.RUNNING


def test_orphans_of_a_killed_postmaster_do_not_stop_the_next(any_fleet: LocalFleet) -> None:
    server = any_fleet._cluster().server("replica-1")
    any_fleet.freeze("replica-1")
    postmaster = server.postmaster()
    assert postmaster
    os.kill(postmaster.pid, signal.SIGKILL)
    eventually(lambda: server.postmaster() is None)
    assert server.processes(), "frozen children cannot notice that they are orphans"
    any_fleet.start("replica-1")
    assert all(not process.is_stopped for process in server.processes())


def test_a_delayed_replica_shows_a_commit_late_until_the_delay_is_taken_back(any_fleet: LocalFleet) -> None:
    any_fleet.sql("primary", "create table delayed (number int)")
    eventually(lambda: any_fleet.sql("replica-3", "select to_regclass('delayed') is not null") == [("t",)])
    any_fleet.lag("replica-3", delay_s=600.0)
    any_fleet.sql("primary", "insert into delayed values (1)")
    eventually(lambda: count(any_fleet, "replica-2", "delayed") == 1)
    assert count(any_fleet, "replica-3", "delayed") == 0
    assert any_fleet.status()[3].apply_delay_s == 600.0
    any_fleet.restart("replica-3")
    assert count(any_fleet, "replica-3", "delayed") == 0
    any_fleet.lag("replica-3", delay_s=0)
    eventually(lambda: count(any_fleet, "replica-3", "delayed") == 1)


def test_a_paused_replica_replays_nothing_until_the_pause_is_taken_back(any_fleet: LocalFleet) -> None:
    any_fleet.sql("primary", "create table paused (number int)")
    eventually(lambda: any_fleet.sql("replica-3", "select to_regclass('paused') is not null") == [("t",)])
    any_fleet.lag("replica-3", paused=True)
    any_fleet.sql("primary", "insert into paused values (1)")
    eventually(lambda: count(any_fleet, "replica-2", "paused") == 1)
    assert count(any_fleet, "replica-3", "paused") == 0
    status = any_fleet.status()[3]
    assert status.is_paused
    assert status.lag_bytes
    any_fleet.lag("replica-3", delay_s=0)
    eventually(lambda: count(any_fleet, "replica-3", "paused") == 1)


@pytest.mark.parametrize(
    ("name", "delay_s", "message"), [("primary", 5.0, "replays nothing"), ("replica-1", -1.0, "-1")]
)
def test_a_lag_that_cannot_be_is_refused(
    any_fleet: LocalFleet, name: str, delay_s: float, message: str
) -> None:
    with pytest.raises(LocalFleetError, match=message):
        any_fleet.lag(name, delay_s)


@pytest.mark.parametrize("action", ["freeze", "thaw", "lag", "promote"])
def test_a_stopped_node_says_that_it_is_stopped(any_fleet: LocalFleet, action: str) -> None:
    any_fleet.stop("replica-1")
    with pytest.raises(LocalFleetError, match="replica-1 is stopped") as caught:
        getattr(any_fleet, action)("replica-1")
    assert "restart replica-1" in caught.value.hint
    any_fleet.start("replica-1")
