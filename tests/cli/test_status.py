"""`pgfleet status` on a real fleet, well and broken."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pgfleet.local import LocalFleet
from pgfleet.testing import eventually
from tests.cli.command import pgfleet, row, run

WITHOUT_PSYCOPG = "import sys; sys.modules['psycopg'] = None; from pgfleet.cli import main; main()"


@pytest.fixture(autouse=True)
def whole(fleet: LocalFleet) -> Iterator[None]:
    """Whatever a test broke is mended."""
    yield
    for name in fleet.names:
        fleet.thaw(name) if _is_frozen(fleet, name) else fleet.start(name)
    fleet.lag("replica-1", 0)


def _is_frozen(fleet: LocalFleet, name: str) -> bool:
    return next(str(node.state) == "frozen" for node in fleet.status() if node.name == name)


def report(fleet: LocalFleet, *, code: int) -> dict[str, Any]:
    done = pgfleet("status", "--json", environ=fleet.environ())
    assert (done.returncode, done.stderr) == (code, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def node(told: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in told["nodes"] if row["name"] == name)


@pytest.mark.parametrize("plain", [False, True])
def test_a_fleet_that_is_well(fleet: LocalFleet, plain: bool) -> None:
    done = pgfleet("status", environ=fleet.environ(plain))
    assert (done.returncode, done.stderr) == (0, "")
    assert row(done.stdout, "primary")[:3] == ["primary", "primary", "healthy"]
    assert row(done.stdout, "replica-3")[:3] == ["replica-3", "replica", "healthy"]
    assert row(done.stdout, "replica-3")[-1] == "yes"
    assert done.stdout.splitlines()[-1] == "All 3 replicas are healthy"


def test_on_asyncpg_alone(fleet: LocalFleet) -> None:
    done = run([sys.executable, "-c", WITHOUT_PSYCOPG, "status"], fleet.environ())
    assert (done.returncode, done.stderr) == (0, "")
    assert row(done.stdout, "replica-1")[-1] == "yes"


def test_json_has_the_names_of_the_api(fleet: LocalFleet) -> None:
    told = report(fleet, code=0)
    assert (told["healthy"], told["primary"], told["message"]) == (
        True,
        "primary",
        "All 3 replicas are healthy",
    )
    assert [row["name"] for row in told["nodes"]] == list(fleet.names)
    replica = node(told, "replica-1")
    assert (replica["role"], replica["status"], replica["candidate"]) == ("replica", "healthy", True)
    assert replica["lagSeconds"] is not None
    assert 1 <= replica["connections"] < replica["maxConnections"]


def test_a_killed_replica_is_a_finding_with_the_driver_s_words(fleet: LocalFleet) -> None:
    fleet.kill("replica-2")
    done = pgfleet("status", environ=fleet.environ())
    assert done.returncode == 1
    assert row(done.stdout, "replica-2")[2] == "unhealthy"
    assert row(done.stdout, "replica-2")[-1] == "no: not answering"
    assert "\nreplica-2: connection failed" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 of 3 replicas are healthy"


def test_a_frozen_replica_does_not_hold_it_up_for_ever(fleet: LocalFleet) -> None:
    fleet.freeze("replica-3")
    told = report(fleet, code=1)
    assert node(told, "replica-3")["reason"] == "not answering"
    assert node(told, "replica-1")["candidate"]


def test_a_lagging_replica_is_out_of_the_reads(fleet: LocalFleet) -> None:
    fleet.lag("replica-1", paused=True)
    fleet.sql("primary", "create table if not exists late (x int); insert into late values (1)")
    environ = fleet.environ() | {"PGFLEET_MAX_LAG_S": "0.05"}

    def is_stale() -> bool:
        told = json.loads(pgfleet("status", "--json", environ=environ).stdout)
        return node(told, "replica-1")["candidate"] is False and node(told, "replica-2")["candidate"] is True

    assert eventually(is_stale)


def test_no_primary_is_a_finding(fleet: LocalFleet) -> None:
    fleet.kill("primary")
    told = report(fleet, code=1)
    assert (told["healthy"], told["primary"]) == (False, None)
    assert told["message"].startswith("No primary answers")


def test_without_replicas_the_primary_is_all(fleet: LocalFleet) -> None:
    done = pgfleet("status", environ={"DATABASE_URL": fleet.environ()["DATABASE_URL"]})
    assert done.returncode == 0
    assert row(done.stdout, "primary")[-1] == "yes"
    assert done.stdout.splitlines()[-1] == "Read replicas are disabled"


def test_disabled_replicas_leave_every_read_to_the_primary(fleet: LocalFleet) -> None:
    done = pgfleet("status", environ=fleet.environ() | {"USE_READ_REPLICAS": "false"})
    assert (done.returncode, done.stderr) == (0, "")
    assert row(done.stdout, "primary")[-1] == "yes"
    assert row(done.stdout, "replica-1")[-1] == "no: read replicas are disabled"


@pytest.mark.parametrize("command", ["status", "explain"])
def test_a_discovery_that_nobody_answers_is_told(fleet: LocalFleet, command: str) -> None:
    nobody = {"PGFLEET_DISCOVERY": "patroni:http://ops:s3cret@127.0.0.1:1"}
    done = pgfleet(command, environ=fleet.environ() | nobody)
    assert done.stderr.startswith("warning: The fleet stays as it is: PGFLEET_DISCOVERY: ")
    assert len(done.stderr.splitlines()) == 1
    assert "s3cret" not in done.stderr
    assert row(done.stdout, "replica-1")[-1] == "yes"


def test_a_variable_that_nothing_reads_is_told(fleet: LocalFleet) -> None:
    done = pgfleet("status", environ=fleet.environ() | {"PGFLEET_MAX_LAGS": "5"})
    assert done.returncode == 0
    assert done.stderr == (
        "warning: Nothing reads these variables: PGFLEET_MAX_LAGS (did you mean PGFLEET_MAX_LAG_S?)\n"
    )


@pytest.mark.parametrize(
    "arrange", [lambda fleet: None, lambda fleet: fleet.kill("primary")], ids=["well", "down"]
)
def test_no_password_is_printed(fleet: LocalFleet, arrange: Callable[[LocalFleet], None]) -> None:
    arrange(fleet)
    password = fleet.dsn("primary").split(":")[2].split("@")[0]
    for args in (["status"], ["status", "--json"], ["explain"]):
        done = pgfleet(*args, environ=fleet.environ())
        assert password not in done.stdout + done.stderr


def test_a_wrong_password_is_told_by_reason(fleet: LocalFleet) -> None:
    wrong = fleet.dsn("replica-1").replace("@", "wr0ng@")
    done = pgfleet("status", environ=fleet.environ() | {"READ_REPLICA_1_CONNECTION_STRING": wrong})
    assert done.returncode == 1
    assert row(done.stdout, "replica-1")[-1] == "no: refuses this configuration"
    assert "password authentication failed" in done.stdout
    assert "wr0ng" not in done.stdout
