"""`pgfleet provision` as it is typed, over the embedded fleet: one file, from nothing to a fleet and back."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import shlex
import signal
import subprocess
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from pgfleet import AsyncReplicaRouter
from pgfleet.cli import provision_check, provision_fleet
from pgfleet.cli.app import app
from pgfleet.local import LocalFleet
from pgfleet.settings import Dsn, Settings
from pgfleet.settings.fleet_file import read_fleet_file
from pgfleet.testing.waiting import eventually_async
from tests.cli.command import COMMAND, environment, pgfleet, row
from tests.docs.test_docs import command_line, inert

FILE = """
[fleet]
name = "hotel"
register = "replicas.toml"

[provider]
kind = "local"
directory = "postgresql"
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="pgfleet-test-"))
    root.chmod(0o711)
    yield root
    LocalFleet.remove(root / "postgresql")
    assert not (root / "postgresql").exists()
    for path in root.iterdir():
        path.unlink()
    root.rmdir()


@pytest.fixture(autouse=True)
def nobody_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows the fleet file is given no time to read it again: where one does, a process of its own waits."""
    monkeypatch.setattr(provision_fleet, "FOLLOWED_S", 0.0)


def declare(place: Path, *names: str, more: str = "") -> None:
    replicas = "".join(f'\n[[replica]]\nname = "{name}"\n{more}' for name in names)
    (place / "fleet.toml").write_text(FILE + replicas)


def provision(place: Path, command: str, *args: str, code: int = 0) -> Result:
    """In this process: there are many of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATABASE_URL", "PGFLEET_FLEET_FILE"):
            patch.delenv(name, raising=False)
        patch.setenv("COLUMNS", "120")
        done = CliRunner().invoke(app, ["provision", command, "--file", str(place / "fleet.toml"), *args])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def told(place: Path, command: str, *args: str, code: int = 0) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(provision(place, command, "--json", *args, code=code).stdout)
    return report


def password(place: Path) -> str:
    dsn = LocalFleet.attach(place / "postgresql").dsn("primary", plain=True)
    return dsn.split(":")[2].split("@")[0]


@pytest.fixture
def running(place: Path) -> Path:
    """Two replicas, whatever the tests before made of them."""
    declare(place, "replica-1", "replica-2")
    provision(place, "apply", "--yes")
    return place


def test_from_nothing_to_verified_and_a_second_apply_plans_nothing(place: Path) -> None:
    LocalFleet.remove(place / "postgresql")
    declare(place, "replica-1", "replica-2")
    shown = provision(place, "plan").stdout
    assert row(shown, "create")[1:] == [f"the primary in {place}/postgresql", "is not there", "1.5 s"]
    assert f"pgfleet local add replica-2 --directory {place}/postgresql" in shown.splitlines()
    assert "5 to create; about 2.6 s." in shown
    provision(place, "plan", "--check", code=1)
    verified = provision(place, "verify", code=1).stdout
    assert "not done: create replica-1" in verified
    assert not (place / "postgresql").exists()

    applied = provision(place, "apply")
    assert "create replica-1 (a standby of the primary): done in" in applied.stderr
    assert "USE_READ_REPLICAS=true" in applied.stdout.splitlines()
    assert "://app:***@127.0.0.1" in applied.stdout
    assert password(place) not in applied.stdout + applied.stderr

    again = provision(place, "plan", "--check").stdout
    assert "Nothing to do: everything is as the file says." in again
    assert told(place, "plan")["steps"] == told(place, "apply")["done"] == []
    verified = provision(place, "verify").stdout
    assert row(verified, "replica-2")[2] == "yes"
    assert "Everything is as the file says, and answers." in verified


def test_every_command_of_a_plan_that_is_pgfleet_s_own_can_be_typed(running: Path) -> None:
    declare(running, "replica-1", "replica-3", more='zone = "a"\n')
    steps = told(running, "plan")["steps"]
    assert {step["action"] for step in steps} == {"create", "change", "remove"}
    for step in steps:
        for command in step["commands"]:
            program, *args = shlex.split(command)
            assert program == "pgfleet"
            inert(command_line()).main(args, prog_name="pgfleet", standalone_mode=False)


def test_the_environment_is_one_that_a_shell_and_an_application_take(running: Path) -> None:
    script = f"{provision(running, 'env').stdout}\nset | grep -E '^(USE|READ|DB|DATABASE|REPLICA)_'"
    shell = subprocess.run(["/bin/sh", "-c", script], env={}, capture_output=True, text=True, check=True)
    read = {
        name: shlex.split(value)[0]
        for name, value in (line.split("=", 1) for line in shell.stdout.splitlines())
    }
    assert read == told(running, "env")["environment"]
    settings = Settings.from_env(read)
    assert [node.name for node in settings.replicas] == ["replica-1", "replica-2"]
    with psycopg.connect(read["READ_REPLICA_2_CONNECTION_STRING"]) as connection:
        assert connection.execute("select pg_is_in_recovery(), current_user").fetchone() == (True, "app")
    assert (
        "encore secret set --prod USE_READ_REPLICAS true"
        in provision(running, "env", "--format", "encore").stdout
    )
    followed = Settings.from_env(told(running, "env", "--follow")["environment"])
    assert [node.name for node in followed.replicas] == ["replica-1", "replica-2"]


def test_secrets_in_files(running: Path, tmp_path: Path) -> None:
    shown = provision(running, "env", "--as-files", str(tmp_path / "secrets")).stdout
    assert password(running) not in shown
    variables = dict(line.split("=", 1) for line in shown.splitlines())
    assert Settings.from_env(variables).replicas[0].dsn.database == "postgres"
    manifests = provision(running, "env", "--as-files", "/run/secrets", "--format", "k8s").stdout
    assert (
        'READ_REPLICA_1_CONNECTION_STRING_FILE: "/run/secrets/read_replica_1_connection_string"' in manifests
    )
    assert not Path("/run/secrets/read_replica_1_connection_string").exists()


def test_a_replica_that_is_gone_is_found_by_verify_and_brought_back_by_apply(running: Path) -> None:
    LocalFleet.attach(running / "postgresql").kill("replica-2")
    report = told(running, "verify", code=1)
    assert (report["good"], report["differences"]) == (
        False,
        [
            "not done: finish replica-2 (a standby of the primary)",
            "not done: write replica-2 into replicas.toml",
        ],
    )
    assert [node["name"] for node in report["nodes"]] == ["primary", "replica-1"]
    assert "finish replica-2" in provision(running, "apply").stderr
    provision(running, "verify")


def test_one_that_does_not_serve_is_told_with_its_reason(
    running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision_check, "PATIENCE_S", 1.0)
    fleet = LocalFleet.attach(running / "postgresql")
    fleet.sql("replica-1", "select pg_wal_replay_pause()")
    fleet.sql("primary", "create table if not exists moved (n int); insert into moved values (1)")
    try:
        shown = provision(running, "verify", code=1).stdout
    finally:
        fleet.sql("replica-1", "select pg_wal_replay_resume()")
    assert "staleness" in row(shown, "replica-1")[2]
    assert row(shown, "replica-2")[2] == "yes"


def test_what_is_removed_is_asked_about(running: Path) -> None:
    declare(running, "replica-1")
    refused = provision(running, "apply", code=2)
    assert "hint: Look at the plan, and add --yes" in refused.stderr
    assert provision(running, "destroy", code=2).stdout == ""
    assert len(told(running, "plan")["steps"]) == 2


def test_running_readers_take_a_new_replica_in_and_leave_an_old_one_without_an_error(running: Path) -> None:
    """Registration end to end: a router that follows the file, under load, while apply changes the fleet."""
    settings = Settings.from_env(told(running, "env", "--follow")["environment"])
    declare(running, "replica-1", "replica-9")
    file = str(running / "fleet.toml")

    async def go() -> None:
        router: AsyncReplicaRouter[Any]
        async with AsyncReplicaRouter(settings) as router:

            async def reads() -> None:
                while not stop.is_set():
                    assert await router.fetch_value("select 1") == 1
                    await asyncio.sleep(0)

            stop = asyncio.Event()
            load = [asyncio.create_task(reads()) for _ in range(4)]
            try:
                done = await asyncio.to_thread(pgfleet, "provision", "apply", "--yes", "--file", file)
                assert done.returncode == 0, done.stderr
                assert "still open" not in done.stderr
                await eventually_async(lambda: _is_healthy(router, "replica-9"))
                assert [node.name for node in router.topology.nodes] == ["primary", "replica-1", "replica-9"]
            finally:
                stop.set()
                await asyncio.gather(*load)

    asyncio.run(go())


async def _is_healthy(router: AsyncReplicaRouter[Any], name: str) -> bool:
    return router.is_healthy(name)


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, 1), ("\x03", 1, 1), ("y\n", 0, 0)])
def test_a_person_is_asked_and_answers(place: Path, answer: str, code: int, left: int) -> None:
    declare(place, "replica-1")
    provision(place, "apply", "--yes")
    primary, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [*COMMAND, "provision", "destroy", "--file", str(place / "fleet.toml")],
            env=environment(),
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_take_terminal,
        )
        assert process.stderr
        read = ""
        while "Remove these?" not in read:
            read += process.stderr.read(1)
        os.write(primary, answer.encode())
        _, told = process.communicate(timeout=60)
    finally:
        os.close(primary)
        os.close(terminal)
    assert (process.returncode, "Traceback" in told) == (code, False)
    assert len(LocalFleet.attach(place / "postgresql").names) == 1 + left


def _take_terminal() -> None:
    """Ctrl-C on it then reaches the process."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_reader_that_stays_is_waited_for_and_then_told_of(
    running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision_fleet, "LEAVE_TIMEOUT_S", 1.0)
    fleet = LocalFleet.attach(running / "postgresql")
    primary, replica = (Dsn.parse(fleet.dsn(name, plain=True)) for name in ("primary", "replica-1"))

    def lines() -> list[str]:
        lines: list[str] = []
        asyncio.run(provision_fleet.until_readers_left(primary, "replica-1", replica, lines.append))
        return lines

    with psycopg.connect(replica.reveal()):
        assert lines() == ["1 of its connections are still open: they are cut"]
    assert lines() == []


def test_destroy_leaves_the_primary_and_nothing_else_of_the_file(place: Path) -> None:
    declare(place, "replica-1", "replica-9")
    provision(place, "apply", "--yes")
    fleet = LocalFleet.attach(place / "postgresql")
    shown = provision(place, "destroy", "--yes")
    assert shown.stdout == "Nothing of hotel is left but its primary.\n"
    assert (fleet.names, fleet.sql("primary", "select slot_name from pg_replication_slots")) == (
        ("primary",),
        [],
    )
    assert read_fleet_file(str(place / "replicas.toml"))[0] == ()
    assert provision(place, "destroy").stdout == "There is nothing that this file made.\n"


def test_an_apply_that_is_asked_to_end_is_gone_on_with(place: Path) -> None:
    LocalFleet.remove(place / "postgresql")
    declare(place, "replica-1", "replica-2")
    process = subprocess.Popen(
        [*COMMAND, "provision", "apply", "--file", str(place / "fleet.toml")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    assert process.stderr.readline().startswith("create the primary")
    process.send_signal(signal.SIGTERM)
    _, left = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in left
    provision(place, "apply")
    provision(place, "verify")


def test_everything_wrong_is_told_at_once_and_nothing_is_done(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(
        '[fleet]\nname = "Hotel"\n[provider]\nkind = "locl"\n'
        '[[replica]]\nname = "a"\nzoen = 1\n[[replica]]\nname = "a"\n'
    )
    for command in ("plan", "apply", "verify", "destroy", "env"):
        told = provision(tmp_path, command, code=2).stderr
        assert "[fleet] name: 'Hotel' is not" in told
        assert "[provider] kind: 'locl' is no provider; write local?" in told
        assert "[[replica]] 2 name: 'a' is the name of [[replica]] 1 too" in told
    assert os.listdir(tmp_path) == ["fleet.toml"]


def test_the_fleet_file_is_another_file(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(FILE.replace('register = "replicas.toml"', "") + '[[replica]]\nname = "a"\n')
    done = pgfleet("provision", "plan", "--file", str(file), environ={"PGFLEET_FLEET_FILE": str(file)})
    assert (done.returncode, "PGFLEET_FLEET_FILE: is" in done.stderr) == (2, True)


def test_without_a_file_the_hint_is_how_to_name_one(tmp_path: Path) -> None:
    assert "--file" in provision(tmp_path, "plan", code=2).stderr


def test_without_a_fleet_there_is_no_environment(tmp_path: Path) -> None:
    declare(tmp_path, "replica-1")
    told = provision(tmp_path, "env", code=2).stderr
    assert "there is no fleet in" in told
    assert "`pgfleet provision apply` makes it" in told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"postgresql"', "7", "[provider] directory: is not a text"),
        ('"postgresql"', '"postgresql"\nsettings = 7', "[provider] settings: is no table of values"),
        (
            '"postgresql"',
            '"postgresql"\nsettings = { port = 7 }',
            "[provider] settings: the fleet sets port itself",
        ),
    ],
)
def test_a_wrong_value_of_the_provider_s_own_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    (tmp_path / "fleet.toml").write_text(FILE.replace(old, new) + '[[replica]]\nname = "a"\n')
    assert told in provision(tmp_path, "plan", code=2).stderr
    assert not (tmp_path / "postgresql").exists()


def test_a_step_that_fails_is_named_with_its_cause_and_what_to_do(place: Path) -> None:
    LocalFleet.remove(place / "postgresql")
    declare(place, "replica-1")
    whole = (place / "fleet.toml").read_text()
    (place / "fleet.toml").write_text(
        whole.replace('"postgresql"', '"postgresql"\nsettings = { work_mem = "lots" }')
    )
    failed = provision(place, "apply", code=2).stderr
    assert f"error: create the primary in {place}/postgresql: primary did not start" in failed
    assert 'invalid value for parameter "work_mem"' in failed
    assert "The same command then goes on from here." in failed
    assert "create replica-1" not in failed, "it needs the primary"
    (place / "fleet.toml").write_text(whole)
    provision(place, "apply")
