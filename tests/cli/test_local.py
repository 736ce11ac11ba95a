"""`pgfleet local` as it is typed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from pgfleet.cli.app import app
from pgfleet.local import LocalFleet


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="pgfleet-test-"))
    root.chmod(0o711)
    yield root / "fleet"
    LocalFleet.remove(root / "fleet")
    root.rmdir()


@pytest.fixture(scope="module")
def running(directory: Path) -> Path:
    assert run(directory, "up", "--replicas", "2").exit_code == 0
    return directory


def run(directory: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["local", command, *arguments, "--directory", str(directory)])


def nodes(directory: Path) -> dict[str, dict[str, Any]]:
    report = json.loads(run(directory, "status", "--json").stdout)
    assert report["directory"] == str(directory)
    return {node["name"]: node for node in report["nodes"]}


def test_up_prints_an_environment_that_a_shell_takes_and_a_driver_connects_with(running: Path) -> None:
    printed = run(running, "up")
    assert "primary, replica-1, replica-2" in printed.stderr
    script = f"{printed.stdout}env"
    shell = subprocess.run(["/bin/sh", "-c", script], env={}, capture_output=True, text=True, check=True)
    environment = dict(line.split("=", 1) for line in shell.stdout.splitlines())
    assert environment["USE_READ_REPLICAS"] == "true"
    for name, is_standby in (("DATABASE_URL", False), ("READ_REPLICA_2_CONNECTION_STRING", True)):
        with psycopg.connect(environment[name]) as connection:
            assert connection.execute("select pg_is_in_recovery()").fetchone() == (is_standby,)
    assert run(running, "status", "--env").stdout == printed.stdout


def test_the_plain_role_is_printed_when_asked_for(running: Path) -> None:
    plain = json.loads(run(running, "status", "--env", "--plain", "--json").stdout)["environment"]
    assert plain == LocalFleet.attach(running).environ(plain=True)
    assert plain == json.loads(run(running, "up", "--plain", "--json").stdout)["environment"]
    exports = [f"export {name}={shlex.quote(value)}" for name, value in plain.items()]
    assert run(running, "status", "--env", "--plain").stdout.splitlines() == exports


def test_status_is_a_table_that_fits_and_shows_no_password(running: Path) -> None:
    shown = run(running, "status").stdout
    assert [
        word for word in ("primary", "replica-1", "replica-2", "running", "follows") if word not in shown
    ] == []
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert "://" not in shown + run(running, "status", "--json").stdout


def test_kill_and_restart(running: Path) -> None:
    assert run(running, "kill", "replica-1").exit_code == 0
    assert nodes(running)["replica-1"]["state"] == "stopped"
    assert run(running, "restart", "replica-1").exit_code == 0
    assert nodes(running)["replica-1"]["state"] == "running"


def test_freeze_and_thaw(running: Path) -> None:
    assert run(running, "freeze", "replica-1").exit_code == 0
    assert nodes(running)["replica-1"]["state"] == "frozen"
    assert "frozen" in run(running, "status").stdout
    assert run(running, "thaw", "replica-1").exit_code == 0
    assert nodes(running)["replica-1"]["state"] == "running"


def test_lag_and_back(running: Path) -> None:
    assert run(running, "lag", "replica-2", "--delay", "7.5").exit_code == 0
    assert nodes(running)["replica-2"]["applyDelaySeconds"] == 7.5
    assert "7.5 s late" in run(running, "status").stdout
    assert run(running, "lag", "replica-2", "--paused").exit_code == 0
    assert nodes(running)["replica-2"]["isPaused"] is True
    assert run(running, "lag", "replica-2", "--delay", "0").exit_code == 0
    assert (nodes(running)["replica-2"]["isPaused"], nodes(running)["replica-2"]["applyDelaySeconds"]) == (
        False,
        0,
    )


def test_add_and_remove(running: Path) -> None:
    assert run(running, "add", "reports").stdout == "reports streams.\n"
    assert nodes(running)["reports"]["isStreaming"] is True
    assert run(running, "remove", "reports").stdout == "reports is gone.\n"
    assert "reports" not in nodes(running)


def test_promote_and_rejoin(running: Path) -> None:
    assert run(running, "promote", "replica-1").exit_code == 0
    assert "primary follows replica-1." in run(running, "rejoin", "primary").stdout
    assert run(running, "rejoin", "replica-2").exit_code == 0
    assert {name: node["upstream"] for name, node in nodes(running).items()} == {
        "primary": "replica-1", "replica-1": None, "replica-2": "replica-1",
    }  # fmt: skip


@pytest.mark.parametrize(
    "command", ["kill", "freeze", "thaw", "lag", "promote", "rejoin", "remove", "restart"]
)
def test_an_unknown_node_is_told_with_those_that_are(running: Path, command: str) -> None:
    result = run(running, command, "replica-9")
    assert result.exit_code == 2
    assert "there is no node 'replica-9'" in result.stderr
    assert "hint: it has primary, replica-1, replica-2" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [("kill",), ("lag", "replica-1", "--delay", "-1"), ("up", "--replicas", "many"), ("explode",)],
)
def test_what_cannot_be_meant_is_misuse(running: Path, arguments: tuple[str, ...]) -> None:
    assert run(running, *arguments).exit_code == 2


@pytest.mark.parametrize("command", ["status", "kill", "promote"])
def test_without_a_fleet_the_hint_is_up(tmp_path: Path, command: str) -> None:
    result = run(tmp_path / "none", command, *([] if command == "status" else ["primary"]))
    assert result.exit_code == 2
    assert "pgfleet local up" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_bin_directory_is_told(tmp_path: Path) -> None:
    result = run(tmp_path, "up", "--pg-bin", os.devnull)
    assert result.exit_code == 2
    assert "holds no postgres" in result.stderr or "cannot reach" in result.stderr


def test_down_is_repeatable(directory: Path, running: Path) -> None:
    assert "gone" in run(directory, "down").stdout
    assert not running.exists()
    again = run(directory, "down")
    assert (again.exit_code, again.stdout) == (0, "There is no fleet.\n")
