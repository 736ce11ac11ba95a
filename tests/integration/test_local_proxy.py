"""The proxy that fails the ways networks do, in front of a real server."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import psycopg
import pytest

from pgfleet.local import FaultProxy, LocalFleet
from pgfleet.testing import eventually


@pytest.fixture
def proxy(fleet: LocalFleet) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", fleet.node("primary").port) as proxy:
        yield proxy


@pytest.fixture
def connection(fleet: LocalFleet, proxy: FaultProxy) -> Iterator[psycopg.Connection]:
    connection = psycopg.connect(proxy.dsn(fleet.dsn("primary")), autocommit=True)
    yield connection
    connection.close()


def answers(connection: psycopg.Connection) -> bool:
    return connection.execute("select 1").fetchone() == (1,)


def is_silent(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1.0) as client:
        client.settimeout(0.2)
        client.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")
        try:
            client.recv(1)
        except TimeoutError:
            return True
    return False


def test_the_dsn_keeps_all_but_the_address(fleet: LocalFleet, proxy: FaultProxy) -> None:
    direct, through = fleet.dsn("primary"), proxy.dsn(fleet.dsn("primary"))
    assert through == direct.replace(str(fleet.node("primary").port), str(proxy.port))


def test_it_forwards_much_both_ways(connection: psycopg.Connection, proxy: FaultProxy) -> None:
    text = "x" * 5_000_000
    assert connection.execute("select %s", [text]).fetchone() == (text,)
    assert proxy.connections == 1


def test_a_black_hole_holds_what_it_swallowed(connection: psycopg.Connection, proxy: FaultProxy) -> None:
    proxy.blackhole()
    assert is_silent(proxy.port)
    connection.pgconn.send_query(b"select 1")
    assert not _readable(connection, within_s=0.2)
    proxy.pass_through()
    assert _readable(connection, within_s=5.0)
    assert not is_silent(proxy.port)


def _readable(connection: psycopg.Connection, within_s: float) -> bool:
    with socket.socket(fileno=socket.dup(connection.fileno())) as watched:
        watched.settimeout(within_s)
        try:
            return bool(watched.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return False


def test_a_reset_ends_open_connections_and_admits_new_ones(
    fleet: LocalFleet, connection: psycopg.Connection, proxy: FaultProxy
) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 1.0) as client:
        eventually(lambda: proxy.connections == 2)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(psycopg.OperationalError):
        answers(connection)
    with psycopg.connect(proxy.dsn(fleet.dsn("primary"))) as again:
        assert answers(again)


def test_a_reset_reaches_what_a_black_hole_holds(connection: psycopg.Connection, proxy: FaultProxy) -> None:
    proxy.blackhole()
    proxy.reset()
    with pytest.raises(psycopg.OperationalError):
        answers(connection)
    assert is_silent(proxy.port)


def test_refusing_keeps_open_connections_and_the_port(
    fleet: LocalFleet, connection: psycopg.Connection, proxy: FaultProxy
) -> None:
    proxy.refuse()
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 1.0)
    assert answers(connection)
    proxy.pass_through()
    with psycopg.connect(proxy.dsn(fleet.dsn("primary"))) as again:
        assert answers(again)


def test_a_delay_holds_up_each_way_and_keeps_the_order(
    connection: psycopg.Connection, proxy: FaultProxy
) -> None:
    proxy.delay(0.1)
    began_s = time.monotonic()
    assert answers(connection)
    assert time.monotonic() - began_s >= 0.2
    proxy.delay(0.01)
    text = "".join(map(str, range(100_000)))
    assert connection.execute("select %s", [text]).fetchone() == (text,)


def test_an_end_on_either_side_is_passed_on(connection: psycopg.Connection, proxy: FaultProxy) -> None:
    with pytest.raises(psycopg.errors.AdminShutdown):
        connection.execute("select pg_terminate_backend(pg_backend_pid())")
    eventually(lambda: proxy.connections == 0)


def test_a_server_that_is_down_resets(fleet: LocalFleet) -> None:
    with FaultProxy("127.0.0.1", fleet.node("replica-1").port) as proxy:
        fleet.kill("replica-1")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(proxy.dsn(fleet.dsn("replica-1")))
        fleet.start("replica-1")
        with psycopg.connect(proxy.dsn(fleet.dsn("replica-1"))) as connection:
            assert answers(connection)


def test_nothing_listens_after_the_end(fleet: LocalFleet) -> None:
    with FaultProxy("127.0.0.1", fleet.node("primary").port) as proxy:
        port = proxy.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1.0)
