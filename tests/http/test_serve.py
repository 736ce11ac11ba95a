"""`pgfleet serve` as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest

from pgfleet.cli.serve import for_monitoring
from pgfleet.cli.web import listen
from pgfleet.local import LocalFleet
from pgfleet.settings import Settings
from pgfleet.testing import eventually
from tests.http.api import DISTRIBUTION, HEALTH, JSON_PATHS, LAG, POOLS, REPLICATION, TOKEN

COMMAND = [sys.executable, "-m", "tests.http.without"]
SECURED = {"PGFLEET_API_TOKEN": TOKEN}
OURS = "select count(*) from pg_stat_activity where application_name = 'pgfleet serve'"


def start(environ: dict[str, str], *args: str, without: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, without, "serve", *args],
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(
    environ: dict[str, str], *args: str, without: str = ""
) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """A client with the token, and the process. It ends as it should, and quietly."""
    with start(environ, "--port", "0", *args, without=without) as process:
        try:
            yield (
                httpx.Client(base_url=_address(process), headers={"authorization": f"Bearer {TOKEN}"}),
                process,
            )
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://(\[.+\]|[\d.]+):\d+", line)
    assert found, line + process.communicate(timeout=10)[1]
    return found[0]


def refused(environ: dict[str, str], *args: str, without: str = "") -> tuple[int, str]:
    """Exit code and errors of a service that does not start."""
    with start(environ, *args, without=without) as process:
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()  # it serves, though it should not
    assert "Traceback" not in errors
    return process.returncode, errors


@pytest.mark.parametrize("without", ["asyncpg", "psycopg"])
def test_every_endpoint_on_the_driver_that_is_there(local_fleet: LocalFleet, without: str) -> None:
    with serving(local_fleet.environ() | SECURED, without=without) as (client, _), client:
        for path in JSON_PATHS:
            assert client.get(path).status_code == 200
            assert client.get(path, headers={"authorization": ""}).status_code == 401
        assert client.get(HEALTH).json()["message"] == "All 3 replicas are healthy"
        assert client.get(DISTRIBUTION).json()["source"] == "none"
        assert len(client.get(REPLICATION).json()["standbys"]) == 3
        assert client.get("/nodes/replica-1/replica?lag=1MB", headers={"authorization": ""}).text == "replica"
        assert client.head("/primary").status_code == 200


def test_it_does_not_count_itself(local_fleet: LocalFleet) -> None:
    with serving(local_fleet.environ() | SECURED) as (client, _), client:
        told = client.get(POOLS).json()
        assert told["source"] == "server"
        quiet = told["replicas"]["replica-1"]["total_connections"]
        everybody = "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        ((count,),) = local_fleet.sql("replica-1", f"{everybody} and pid <> pg_backend_pid()")
        ((ours,),) = local_fleet.sql("replica-1", OURS)
        assert (quiet, int(ours)) == (int(count) - int(ours), 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_connections(local_fleet: LocalFleet, number: signal.Signals) -> None:
    environ = local_fleet.environ() | SECURED
    with start(environ, "--port", "0") as process, httpx.Client(base_url=_address(process)) as client:
        assert client.get("/liveness").text == "alive"  # and the connection stays open
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    eventually(lambda: local_fleet.sql("primary", OURS) == [("0",)])


def test_a_signal_while_it_starts(local_fleet: LocalFleet) -> None:
    """A server that accepts and says nothing holds up the first look at the fleet."""
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        silent = {"DATABASE_URL": f"postgresql://u:p@127.0.0.1:{mute.getsockname()[1]}/db"}
        with start(silent | SECURED, "--port", "0") as process:
            mute.accept()[0].close()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)
    assert process.returncode == 0


def test_no_answer_waits_for_an_acknowledgement() -> None:
    with (
        closing(listen("127.0.0.1", 0)) as listener,
        closing(socket.create_connection(listener.getsockname())),
        closing(listener.accept()[0]) as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use(local_fleet: LocalFleet) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        code, errors = refused(local_fleet.environ() | SECURED, "--port", port)
    assert code != 0
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in errors
    assert "--port" in errors.splitlines()[-1]


def test_an_address_of_another_machine(local_fleet: LocalFleet) -> None:
    code, errors = refused(local_fleet.environ() | SECURED, "--host", "192.0.2.1", "--port", "0")
    assert code != 0
    assert "cannot listen on 192.0.2.1:0" in errors


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_a_token_it_stays_on_loopback(local_fleet: LocalFleet, host: str) -> None:
    code, errors = refused(local_fleet.environ(), "--host", host, "--port", "0")
    assert code == 2
    assert "PGFLEET_API_TOKEN" in errors


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4000", "localhost.evil.example", "10.0.0.1", "[::2]:1", ""]
)
def test_without_a_token_it_goes_by_no_other_name(local_fleet: LocalFleet, host: str) -> None:
    with serving(local_fleet.environ()) as (client, _), client:
        assert client.get(LAG, headers={"host": host}).status_code == 421
        assert client.get("/replica", headers={"host": host}).status_code == 421


def test_without_a_token_it_answers_to_the_names_of_loopback(local_fleet: LocalFleet) -> None:
    with serving(local_fleet.environ()) as (client, _), client:
        for host in ("localhost", "LOCALHOST:4000", "127.0.0.1:80", "127.0.0.1", "[::1]:4000", "[::1]"):
            assert client.get(LAG, headers={"host": host}).status_code == 200


def test_a_check_without_a_host_is_no_browser(local_fleet: LocalFleet) -> None:
    """As HAProxy asks when it is told nothing else."""
    with serving(local_fleet.environ()) as (client, _), client:
        with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10) as conn:
            conn.sendall(b"OPTIONS / HTTP/1.0\r\n\r\n")
            assert conn.recv(1000).startswith(b"HTTP/1.1 404 ")
        with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10) as conn:
            conn.sendall(b"GET /replica HTTP/1.0\r\n\r\n")
            assert conn.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_ipv6(local_fleet: LocalFleet) -> None:
    with serving(local_fleet.environ(), "--host", "::1") as (client, _), client:
        assert client.get(LAG).status_code == 200


def test_a_line_that_never_ends(local_fleet: LocalFleet) -> None:
    with serving(local_fleet.environ() | SECURED) as (client, _), client:
        with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10) as conn:
            conn.sendall(b"GET /replica?" + b"x" * 200_000)
            assert conn.recv(1000).startswith(b"HTTP/1.1 400 ")
        assert client.get("/replica").status_code == 200


def test_it_serves_while_no_server_answers() -> None:
    nowhere = {"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/db"} | SECURED
    with start(nowhere, "--port", "0") as process:
        try:
            with httpx.Client(
                base_url=_address(process), headers={"authorization": f"Bearer {TOKEN}"}
            ) as client:
                assert client.get(HEALTH).status_code == 200
                assert client.get(REPLICATION).status_code == 503
                assert client.get("/readiness").status_code == 503
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=10)
    assert "primary is out" in errors
    assert "hush" not in errors


def test_no_driver(local_fleet: LocalFleet) -> None:
    code, errors = refused(local_fleet.environ(), "--port", "0", without="psycopg,asyncpg")
    assert code == 2
    assert "pip install 'pgfleet[all]'" in errors


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_no_server_extra(local_fleet: LocalFleet, package: str) -> None:
    code, errors = refused(local_fleet.environ(), "--port", "0", without=package)
    assert code == 2
    assert "pip install 'pgfleet[server]'" in errors


def test_a_wrong_environment() -> None:
    code, errors = refused({"DB_MAX_IDLE_TIME": "soon"})
    assert code == 2
    assert "DB_MAX_IDLE_TIME" in errors
    assert "DATABASE_URL" in errors


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:p%40%27%5C@h1,h2:5433/db?sslmode=disable&application_name=hotel&options=-c%20a%3Db",
        r"host=h1 user=u password='p@\'\\ x' application_name='the hotel' options='-c a=b'",
        "postgresql://[::1]:5432/db",
        "host=/var/run/postgresql dbname=db",
    ],
)
def test_its_sessions_have_a_name_of_their_own_and_change_nothing_else(dsn: str) -> None:
    settings = Settings.from_env({"DATABASE_URL": dsn, "DATABASE_READ_URL": dsn})
    given, ours = settings.primary.dsn, for_monitoring(settings).primary.dsn
    assert ours.parameters == {**given.parameters, "application_name": "pgfleet serve"}
    assert (ours.hosts, ours.user, ours.database) == (given.hosts, given.user, given.database)
    assert ours.password == given.password


def test_it_keeps_few_connections() -> None:
    settings = for_monitoring(
        Settings.from_env(
            {"DATABASE_URL": "postgresql://h/db", "READ_REPLICA_1_CONNECTION_STRING": "postgresql://r/db"}
        )
    )
    nodes = (settings.primary, *settings.replicas)
    assert [(node.max_connections, node.min_connections) for node in nodes] == [(2, 0), (2, 0)]
    assert settings.fallback_dsn is None
