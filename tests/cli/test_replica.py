"""`pgfleet replica`: the fleet file is edited as a whole, and only into one that stands."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgfleet.local import LocalFleet
from pgfleet.settings.fleet_file import read_fleet_file
from tests.cli.command import COMMAND, environment, pgfleet, row, start

SECRET = "tr0ub4dor"
DSN = f"postgresql://app:{SECRET}@{{}}:5432/hotel"
LINES = f"""# ours, keep
[provider]
kind = "rds"   # somebody else's

[[replica]]
name = 'reports'   # for the night
dsn = "{DSN.format("db-4")}"
weight = 2

[primary]
size = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.toml"


def replica(
    file: Path, *args: str, code: int = 0, environ: dict[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, "replica", *args],
        env=environment({"PGFLEET_FLEET_FILE": str(file), **(environ or {})}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def names(file: Path) -> list[str]:
    replicas, problems = read_fleet_file(str(file))
    assert problems == ()
    return [node.name for node in replicas]


def add(file: Path, name: str, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return replica(file, "add", name, DSN.format(f"host-{name}"), "--no-check", *args, code=code)


def test_from_nothing_to_nothing(file: Path) -> None:
    add(file, "one", "--weight", "3", "--zone", "a", "--max-connections", "9", "--min-connections", "1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    add(file, "two")
    (one, two), problems = read_fleet_file(str(file))
    assert problems == ()
    assert (one.weight, one.zone, one.max_connections, one.min_connections) == (3, "a", 9, 1)
    assert (two.weight, two.zone, two.draining) == (1, None, False)
    assert "no new read" in replica(file, "drain", "one").stdout
    assert replica(file, "drain", "one").stdout == "one is drained already.\n"
    assert row(replica(file, "list").stdout, "one")[-1] == "no: is drained"
    assert replica(file, "undrain", "one").stdout == "one takes reads again.\n"
    replica(file, "remove", "one")
    assert names(file) == ["two"]
    replica(file, "remove", "two")
    assert names(file) == []


def test_json_is_the_file_as_it_is_now(file: Path) -> None:
    told: dict[str, Any] = json.loads(add(file, "one", "--json").stdout)
    assert told == {
        "file": str(file),
        "replicas": [
            {
                "name": "one",
                "address": "host-one:5432/hotel",
                "weight": 1,
                "zone": None,
                "maxConnections": 50,
                "minConnections": 5,
                "sharedEndpoint": False,
                "drain": False,
            }
        ],
    }
    for args in (["drain", "one"], ["list"]):
        assert json.loads(replica(file, *args, "--json").stdout)["replicas"][0]["drain"] is True
    assert json.loads(replica(file, "remove", "one", "--json").stdout)["replicas"] == []
    assert "names no replica yet" in replica(file, "list").stdout


def test_a_shared_endpoint_is_declared(file: Path) -> None:
    add(file, "readers", "--shared-endpoint")
    add(file, "one")
    assert [node.shared_endpoint for node in read_fleet_file(str(file))[0]] == [True, False]
    assert file.read_text().count("shared_endpoint") == 1
    told = json.loads(replica(file, "list", "--json").stdout)
    assert [node["sharedEndpoint"] for node in told["replicas"]] == [True, False]


def test_what_others_wrote_stays_as_they_wrote_it(file: Path) -> None:
    file.write_text(LINES)
    file.chmod(0o644)
    replica(file, "drain", "reports")
    assert file.read_text().replace("drain = true\n", "") == LINES
    assert stat.S_IMODE(file.stat().st_mode) == 0o640, "nobody else reads it any more"
    replica(file, "undrain", "reports")
    assert file.read_text() == LINES
    add(file, "web")
    replica(file, "remove", "reports")
    assert names(file) == ["web"]
    for line in ("# ours, keep", "[provider]", 'kind = "rds"   # somebody else\'s', "[primary]", "size = 3"):
        assert line in file.read_text().splitlines()


def test_through_a_link_the_file_itself_is_edited(file: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    file.symlink_to(tmp_path / "real" / "fleet.toml")
    add(file, "one")
    assert file.is_symlink()
    assert names(tmp_path / "real" / "fleet.toml") == ["one"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_it_stays_whose_it_is(file: Path) -> None:
    add(file, "one")
    os.chown(file, 12345, 54321)
    add(file, "two")
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 54321)


def test_what_would_be_wrong_is_refused_and_nothing_is_changed(file: Path) -> None:
    file.write_text(LINES)
    for args, said in (
        (["add", "reports", DSN.format("db-5")], "'reports' is already the name of"),
        (["add", "web", DSN.format("db-4")], "is the same server and database as"),
        (["add", "primary", DSN.format("db-5")], ""),
        (["add", "a b", DSN.format("db-5")], "is not a name that fits into a URL"),
        (["add", "web", f"postgresql://app:{SECRET}@/hotel"], "names no host"),
        (["add", "web", DSN.format("db-5"), "--weight", "0"], "weight: '0' is not a whole number from 1 to 100"),
        (["add", "web", DSN.format("db-1")], "is the same server and database as READ_REPLICA_1"),
        (["drain", "web"], "is called 'web'\nhint: It has reports; "),
        (["remove", "web"], "is called 'web'"),
    ):  # fmt: skip
        no_check = ["--no-check"] if args[0] == "add" else []
        environ = {"READ_REPLICA_1_CONNECTION_STRING": DSN.format("db-1"), "DATABASE_URL": DSN.format("db-0")}
        done = replica(file, *args, *no_check, code=2, environ=environ)
        assert said in done.stderr
        assert file.read_text() == LINES


def test_a_replica_that_collides_with_the_environment_can_be_removed(file: Path) -> None:
    file.write_text(LINES)
    environ = {"READ_REPLICA_1_CONNECTION_STRING": DSN.format("db-4")}
    replica(file, "drain", "reports", code=2, environ=environ)
    replica(file, "remove", "reports", environ=environ)
    assert names(file) == []


def test_a_broken_file_is_not_made_worse(file: Path) -> None:
    file.write_text("[[replica")
    assert "is not TOML (line 1, column 10)" in add(file, "one", code=2).stderr
    assert file.read_text() == "[[replica"


def test_no_file_and_no_directory_are_one_clear_error(tmp_path: Path) -> None:
    done = pgfleet("replica", "list")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        "error: PGFLEET_FLEET_FILE: is not set, and --file is not given",
    )
    assert "cannot be edited: No such file or directory" in add(tmp_path / "no" / "f", "one", code=2).stderr
    assert "is not there" in replica(tmp_path / "f", "list", code=2).stderr


def test_a_password_need_not_stand_on_the_command_line(file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(DSN.format("c"))
    replica(file, "add", "a", "-", "--no-check", stdin=DSN.format("a") + "\n")
    replica(file, "add", "b", "--dsn-env", "B", "--no-check", environ={"B": DSN.format("b")})
    replica(file, "add", "c", "--dsn-file", str(tmp_path / "secret"), "--no-check")
    replicas, _ = read_fleet_file(str(file))
    assert [node.dsn.reveal() for node in replicas] == [DSN.format(name) for name in "abc"]
    assert "exactly one of" in replica(file, "add", "d", "--no-check", code=2).stderr
    assert "is not set" in replica(file, "add", "d", "--dsn-env", "D", "--no-check", code=2).stderr


def test_edits_at_the_same_time_are_all_there(file: Path) -> None:
    environ = {"PGFLEET_FLEET_FILE": str(file)}
    edits = [
        start("replica", "add", f"r{n}", DSN.format(f"db-{n}"), "--no-check", environ=environ)
        for n in range(6)
    ]
    for edit in edits:
        said, _ = edit.communicate(timeout=60)
        assert edit.returncode == 0, said
    assert sorted(names(file)) == [f"r{n}" for n in range(6)]
    assert os.listdir(file.parent) == ["fleet.toml"]


# against real servers


@pytest.fixture(scope="module")
def stranger() -> Iterator[LocalFleet]:
    with LocalFleet.temporary(replicas=0) as fleet:
        yield fleet


def test_the_server_is_asked_first(fleet: LocalFleet, stranger: LocalFleet, file: Path) -> None:
    environ = {
        "DATABASE_URL": fleet.dsn("primary"),
        "READ_REPLICA_1_CONNECTION_STRING": fleet.dsn("replica-1"),
    }
    nobody = fleet.dsn("primary").replace(str(fleet.node("primary").port), "1")
    again = fleet.dsn("replica-1").replace("127.0.0.1", "localhost")
    for dsn, said in (
        (nobody, "error: four: not answering: "),
        (stranger.dsn("primary"), "error: four: belongs to another cluster"),
        (fleet.dsn("replica-2").replace("@", "wrong@"), "error: four: refuses this configuration: "),
        (again, "error: four: is the same server as another node"),
    ):
        done = replica(file, "add", "four", dsn, environ=environ, code=1)
        assert said in done.stderr
        assert "--no-check" in done.stderr
        assert not file.exists()
    replica(file, "add", "four", fleet.dsn("replica-2"), environ=environ)
    assert names(file) == ["four"]
    status = pgfleet("status", environ={**environ, "USE_READ_REPLICAS": "1", "PGFLEET_FLEET_FILE": str(file)})
    assert row(status.stdout, "four")[-1] == "yes"
    replica(file, "drain", "four")
    status = pgfleet("status", environ={**environ, "USE_READ_REPLICAS": "1", "PGFLEET_FLEET_FILE": str(file)})
    assert row(status.stdout, "four")[-1] == "no: is being drained"
