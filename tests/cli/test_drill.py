"""`pgfleet drill` as a person runs it, on real servers. How good a figure is, no test says: only that it is told."""

from __future__ import annotations

import json
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgfleet.drill.names import DRILLS
from pgfleet.drill.promises import PROMISES
from pgfleet.local import LocalFleet, ServerState
from pgfleet.testing import eventually
from tests.cli.command import TIMEOUT_S, pgfleet, start

BRIEF = ("--seconds", "1", "--rate", "100", "--callers", "4")


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    """One for all drills here: a drill leaves a fleet as whole as it found it."""
    with LocalFleet.temporary(replicas=2) as fleet:
        yield fleet


def drill(fleet: LocalFleet, name: str, *args: str) -> dict[str, Any]:
    """The JSON of a drill on a fleet that is there."""
    done = pgfleet("drill", name, *BRIEF, "--directory", str(fleet.directory), "--json", *args)
    assert done.returncode in (0, 1), done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == int(not told["kept"])
    assert told["kept"] == all(promise["kept"] for promise in told["promises"])
    return told


def promise(told: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(promise for promise in told["promises"] if promise["name"] == name)
    return found


def calls(told: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in told["calls"] if row["call"] == kind)
    return found


def whole(fleet: LocalFleet) -> bool:
    """Every node runs, and all but one follow it, without a delay and without our tables."""
    statuses = fleet.status()
    tables = fleet.sql(fleet.primary, "select count(*) from pg_class where relname like 'pgfleet_drill%'")
    return (
        all(status.state is ServerState.RUNNING for status in statuses)
        and sum(status.upstream == fleet.primary for status in statuses) == len(statuses) - 1
        and not any(status.is_paused or status.apply_delay_s for status in statuses)
        and tables == [("0",)]
    )


@pytest.mark.parametrize("face", [(), ("--driver", "asyncpg"), ("--threads",)], ids="".join)
def test_a_kill_costs_no_fetch_on_any_face(fleet: LocalFleet, face: tuple[str, ...]) -> None:
    told = drill(fleet, "kill", *face)
    assert promise(told, "kill.errors")["value"] == 0
    assert [event["what"] for event in told["events"]] == [
        "replica-2 is killed (SIGKILL)",
        "replica-2 is started",
    ]
    assert {row["call"] for row in told["calls"]} == {"fetch", "read", "write"}
    assert calls(told, "fetch")["calls"] > 0
    assert whole(fleet)


def test_a_freeze_is_told_with_all_its_promises(fleet: LocalFleet) -> None:
    told = drill(fleet, "freeze")
    assert [it["name"] for it in told["promises"]] == [it.name for it in PROMISES["freeze"]]
    assert promise(told, "freeze.errors")["value"] == 0
    assert whole(fleet)


def test_a_returned_primary_gets_no_write(fleet: LocalFleet) -> None:
    before = fleet.primary
    told = drill(fleet, "old-primary-returns")
    assert promise(told, "old-primary-returns.writes")["value"] == 0
    assert told["lostWrites"] is not None
    assert fleet.primary != before
    assert whole(fleet)


def test_a_broken_network_is_not_the_servers(fleet: LocalFleet) -> None:
    told = drill(fleet, "reset")
    assert promise(told, "reset.errors")["value"] == 0
    assert whole(fleet)


def test_a_paused_replica_gives_no_read_beyond_the_bound(fleet: LocalFleet) -> None:
    told = drill(fleet, "pause", "--seconds", "2")
    assert promise(told, "pause.stale")["value"] == 0
    assert told["staleBoundSeconds"] == 1.0
    assert whole(fleet)


def test_a_table_for_people_on_a_fleet_of_its_own() -> None:
    done = pgfleet("drill", "kill", *BRIEF, "--hedge", "--replicas", "1", environ={"COLUMNS": "80"})
    assert done.returncode in (0, 1), done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "kill: one replica dies, and comes back"
    assert lines[1].endswith("psycopg, tasks, hedged")
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("errors through fetch") for line in lines)
    assert lines[-2] in ("All 4 promises are kept.", *(f"{n} of 4 promises broken." for n in range(1, 5)))
    assert "replica-1 is killed (SIGKILL)" in done.stderr


def test_ctrl_c_leaves_nothing_behind_and_mends_what_it_broke(fleet: LocalFleet) -> None:
    with start("drill", "freeze", "--seconds", "60", "--directory", str(fleet.directory)) as process:
        assert process.stdout
        assert any("is frozen" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert eventually(lambda: whole(fleet), 20)


def test_ctrl_c_takes_a_fleet_of_its_own_away() -> None:
    with tempfile.TemporaryDirectory(prefix="pgfleet-drill-") as state:
        Path(state).chmod(0o755)
        with start(
            "drill", "kill", "--seconds", "60", environ={"XDG_STATE_HOME": state, "TMPDIR": state}
        ) as process:
            assert process.stdout
            assert any("is killed" in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 130
        assert list(Path(state).glob("**/postmaster.pid")) == []


# consistency


def test_a_history_is_checked_and_all_of_it_is_told(fleet: LocalFleet) -> None:
    args = ("--seconds", "6", "--clients", "6", "--seed", "3", "--directory", str(fleet.directory), "--json")
    done = pgfleet("drill", "consistency", *args)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["drill"], told["kept"], told["seed"], told["commits"]) == ("consistency", True, 3, "both")
    assert all(it["operations"] > 0 and it["violations"] == 0 for it in told["promises"])
    assert sum(deed["times"] for deed in told["deeds"]) > 0
    assert sum(answer["reads"] for answer in told["answers"]) + told["writes"] == told["operations"]
    assert whole(fleet)


def test_a_table_of_what_was_checked_on_a_fleet_of_its_own() -> None:
    args = ("--operations", "2000", "--threads", "--commits", "asynchronous", "--clients", "4")
    done = pgfleet("drill", "consistency", *args, environ={"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "4 clients, asynchronous commits; psycopg, threads; seed 0"
    assert max(map(len, lines)) <= 80
    assert re.search(r"^an acknowledged write is there at the end +[\d,]+ +0$", done.stdout, re.MULTILINE)
    assert re.fullmatch(r"All \d promises are kept.", lines[-1])


# against the environment


def test_watch_reports_what_somebody_else_broke(fleet: LocalFleet) -> None:
    victim = next(status.name for status in fleet.status() if status.upstream)
    args = ("watch", "--rate", "100", "--seconds", "40")
    with start("drill", *args, environ=fleet.environ()) as process:
        try:
            assert process.stdout
            assert any("break something now" in line for line in process.stdout)
            fleet.kill(victim)
            assert any(f"{victim} is out of the rotation" in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=TIMEOUT_S)
        finally:
            fleet.start(victim)
    assert process.returncode == 0, output
    assert "The promise is kept." in output


@pytest.mark.parametrize("face", [(), ("--threads",), ("--driver", "asyncpg")], ids="".join)
def test_watch_runs_a_statement_of_ones_own(fleet: LocalFleet, face: tuple[str, ...]) -> None:
    done = pgfleet(
        "drill", "watch", "--seconds", "1", "--sql", "select 1", "--json", *face, environ=fleet.environ()
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["errors"] == []
    assert calls(told, "fetch")["calls"] > 0


def test_watch_names_the_servers_that_answered(fleet: LocalFleet) -> None:
    done = pgfleet("drill", "watch", "--seconds", "1", "--json", environ=fleet.environ())
    told = json.loads(done.stdout)
    assert {row["node"] for row in told["nodes"]} == set(fleet.names)
    assert sum(row["readsDuring"] for row in told["nodes"]) == calls(told, "fetch")["calls"]


def test_a_statement_that_fails_breaks_the_promise(fleet: LocalFleet) -> None:
    done = pgfleet("drill", "watch", "--seconds", "1", "--sql", "select 1/0", environ=fleet.environ())
    assert done.returncode == 1
    assert "DivisionByZero" in done.stdout


def test_the_network_before_the_environment_can_be_broken_for_this_process(fleet: LocalFleet) -> None:
    args = ("reset", *BRIEF, "--against-environment", "--yes-break-it", "--json")
    done = pgfleet("drill", *args, environ=fleet.environ())
    assert done.returncode in (0, 1), done.stderr
    told = json.loads(done.stdout)
    assert promise(told, "reset.errors")["value"] == 0
    assert {row["call"] for row in told["calls"]} == {"fetch"}
    assert whole(fleet)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["kill", "--against-environment"], "is not a local one, and a drill breaks it"),
        (["reset", "--against-environment"], "is not a local one, and a drill breaks it"),
        (["promote", "--against-environment", "--yes-break-it"], "a primary that the drill did not start"),
        (["kill", "--against-environment", "--yes-break-it"], "kill needs the servers' processes"),
        (["kil"], "No such command 'kil'"),
        (["kill", "--seconds", "0"], "--seconds"),
        (["kill", "--driver", "pg8000"], "--driver"),
        (["kill", "--replicas", "0"], "--replicas"),
        (["kill", "--threads", "--driver", "asyncpg"], "asyncpg has no threads"),
        (["consistency", "--threads", "--driver", "asyncpg"], "asyncpg has no threads"),
        (["consistency", "--clients", "2"], "--clients"),
        (["consistency", "--commits", "some"], "--commits"),
        (["kill", "--directory", "/nowhere"], "there is no fleet in /nowhere"),
        (["watch"], "DATABASE_URL"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(args: list[str], message: str) -> None:
    done = pgfleet("drill", *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_list_of_drills_is_the_help() -> None:
    done = pgfleet("drill", "--help")
    assert all(f"  {name} " in done.stdout for name in (*DRILLS, "all", "watch", "consistency"))
