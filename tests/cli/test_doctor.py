"""`pgfleet doctor` as a person calls it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pgfleet.core.diagnosis.catalogue import CATALOGUE
from pgfleet.local import LocalFleet
from tests.cli.command import pgfleet, run

WITHOUT_PSYCOPG = "import sys; sys.modules['psycopg'] = None; from pgfleet.cli import main; main()"
WITHOUT_DRIVERS = f"import sys; sys.modules['asyncpg'] = None; {WITHOUT_PSYCOPG}"


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    """A primary and one replica are enough."""
    with LocalFleet.temporary(replicas=1) as fleet:
        yield fleet


@pytest.fixture
def killed(fleet: LocalFleet) -> Iterator[LocalFleet]:
    fleet.kill("replica-1")
    yield fleet
    fleet.start("replica-1")


def password(fleet: LocalFleet) -> str:
    return fleet.dsn("primary").split(":")[2].split("@")[0]


def document(fleet: LocalFleet, *args: str, code: int) -> dict[str, Any]:
    done = pgfleet("doctor", "--json", *args, environ=fleet.environ())
    assert (done.returncode, done.stderr) == (code, "")
    assert password(fleet) not in done.stdout
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("plain", [False, True], ids=["superuser", "plain"])
def test_a_fleet_that_is_well_is_exit_code_0(fleet: LocalFleet, plain: bool) -> None:
    done = pgfleet("doctor", environ=fleet.environ(plain))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("NOTICE ")
    assert done.stdout.splitlines()[-1].startswith("2 of 2 nodes answered, in ")


def test_on_asyncpg_alone(fleet: LocalFleet) -> None:
    done = run([sys.executable, "-c", WITHOUT_PSYCOPG, "doctor"], fleet.environ())
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_driver_it_could_not_run(fleet: LocalFleet) -> None:
    done = run([sys.executable, "-c", WITHOUT_DRIVERS, "doctor"], fleet.environ())
    assert done.returncode == 2
    assert done.stderr.startswith("error: no driver is installed")


def test_a_finding_is_exit_code_1_and_a_block_that_fits_the_terminal(killed: LocalFleet) -> None:
    done = pgfleet("doctor", environ=killed.environ() | {"COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (1, "")
    assert password(killed) not in done.stdout
    head, *lines = done.stdout.splitlines()
    assert head == "CRITICAL  replica-1: refuses TCP connections [tcp-refused]"
    labels = [line[2:12].strip() for line in lines[: lines.index("")]]
    assert [label for label in labels if label] == ["seen", "means", "do", "do", "do", "do", "manual"]
    prose = [line for line in lines if not line.startswith(" " * 14) and "https://" not in line]
    assert max(map(len, prose)) <= 80
    assert all(line == line.rstrip() for line in lines)


def test_json_has_every_finding_with_all_it_says(killed: LocalFleet) -> None:
    told = document(killed, code=1)
    assert (told["healthy"], told["worst"]) == (False, "critical")
    assert [(node["name"], node["answers"], node["role"]) for node in told["nodes"]] == [
        ("primary", True, "primary"),
        ("replica-1", False, None),
    ]
    first = told["findings"][0]
    assert (first["id"], first["node"], first["severity"]) == ("tcp-refused", "replica-1", "critical")
    assert first["manual"] == CATALOGUE["tcp-refused"].manual
    assert all(set(step) == {"on", "run", "when"} for step in first["fix"])
    (slot,) = [finding for finding in told["findings"] if finding["id"] == "slot-inactive"]
    assert slot["because"] == {"id": "tcp-refused", "node": "replica-1"}
    assert (slot["node"], slot["concerns"], slot["figures"]["slot"]) == ("primary", "replica-1", "replica_1")


def test_of_one_node_is_what_concerns_it(killed: LocalFleet) -> None:
    """What the primary shows of the replica is the replica's matter, what it shows of itself is not."""
    told = document(killed, "--node", "replica-1", code=1)
    found = {(finding["id"], finding["node"]) for finding in told["findings"]}
    assert {("tcp-refused", "replica-1"), ("slot-inactive", "primary")} <= found
    assert ("fsync-off", "primary") not in found


def test_a_node_that_is_not_there_is_misuse(fleet: LocalFleet) -> None:
    done = pgfleet("doctor", "--node", "replica-9", environ=fleet.environ())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the fleet has no node replica-9\nhint: it has primary, replica-1\n"


def test_processes_multiply_the_pools(fleet: LocalFleet) -> None:
    ids = {finding["id"] for finding in document(fleet, "--processes", "4", code=1)["findings"]}
    assert "pools-exceed-server" in ids


def test_an_environment_without_a_fleet_is_misuse() -> None:
    done = pgfleet("doctor", environ={})
    assert done.returncode == 2
    assert "DATABASE_URL" in done.stderr


@pytest.mark.parametrize("args", [["--timeout-s", "0"], ["--processes", "0"]])
def test_figures_that_are_none_are_misuse(args: list[str]) -> None:
    done = pgfleet("doctor", *args)
    assert done.returncode == 2
    assert args[0] in done.stderr
