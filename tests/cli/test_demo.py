"""`pgfleet demo` as a person runs it: a replica is killed from a second terminal, and no read is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.command import TIMEOUT_S, pgfleet, start

LAG = "/v1/system/database/replicas/lag"
DISTRIBUTION = "/v1/system/database/queries/distribution"


@pytest.fixture
def home() -> Iterator[dict[str, str]]:
    """A state directory of the test's own, which the servers' user can reach; whatever is left in it ends."""
    with tempfile.TemporaryDirectory(prefix="pgfleet-demo-") as directory:
        Path(directory).chmod(0o755)
        environ = {"XDG_STATE_HOME": directory}
        yield environ
        pgfleet("local", "down", environ=environ)


@contextmanager
def demo(*args: str, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A demo, killed at the end if it has not ended by then."""
    with start("demo", *args, environ=environ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], pattern: str) -> tuple[str, re.Match[str]]:
    """Read what the demo prints up to the first line that matches."""
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if found := re.search(pattern, line):
            return seen, found
    raise AssertionError(f"no {pattern!r} in:\n{seen}")


def rest(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=TIMEOUT_S)
    return output


def ask(url: str, token: str) -> Any:
    response = httpx.get(url, headers={"Authorization": f"Bearer {token}"})
    return response.json() if response.status_code == 200 else response.status_code


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def leftovers(environ: Mapping[str, str]) -> list[str]:
    """Processes that mention the state directory, and files in it but for copies of binaries that are kept."""
    directory = environ["XDG_STATE_HOME"]
    lines = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _is_readable(path))
    processes = [line.decode() for line in lines if directory.encode() in line]
    files = [path for path in Path(directory).rglob("*") if path.is_file()]
    return processes + [str(path) for path in files if "/postgresql-" not in str(path)]


def _is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_a_replica_is_killed_and_no_read_is_lost(home: dict[str, str]) -> None:
    port = free_port()
    with demo("--seconds", "8", "--port", str(port), environ=home) as process:
        _, found = until(process, r"token  (\S+)")
        url, token = f"http://127.0.0.1:{port}", found[1]
        introduced, _ = until(process, r"reads/s")
        killed = pgfleet("local", "kill", "replica-2", environ=home)
        until(process, r"replica-2 is unhealthy: not answering")
        lag = ask(url + LAG, token)
        distribution = ask(url + DISTRIBUTION, token)
        refused = ask(url + LAG, "guess")
        output = rest(process)

    assert (killed.returncode, killed.stderr) == (0, "")
    assert f"{url}{LAG}" in introduced
    assert [row["name"] for row in lag["replicas"]] == ["replica-1", "replica-2", "replica-3"]
    assert distribution["replicaReadShare"] > 0.8
    assert refused == 401
    assert process.returncode == 0, output
    assert re.search(r"\d reads, 0 lost reads, 0 stale reads; [\d,]+ writes, 0 failed\.", output), output
    share = re.search(r"Replicas answered ([\d.]+) % of the reads", output)
    assert share
    assert float(share[1]) >= 80, output
    read_back = re.search(r"([\d,]+) bookings were read", output)
    assert read_back
    assert int(read_back[1].replace(",", "")) > 0
    assert leftovers(home) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_summary_and_nothing_left(
    home: dict[str, str], number: signal.Signals
) -> None:
    with demo("--port", "0", "--replicas", "1", environ=home) as process:
        until(process, r"reads/s")
        process.send_signal(number)
        output = rest(process)
    assert process.returncode == 0, output
    assert "0 lost reads" in output
    assert "Traceback" not in output
    assert leftovers(home) == []


def test_started_in_the_background_it_can_still_be_ended(home: dict[str, str]) -> None:
    """A shell without job control has its background ignore SIGINT."""
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN))
        process = stack.enter_context(demo("--port", "0", "--replicas", "1", environ=home))
        until(process, r"reads/s")
        process.send_signal(signal.SIGTERM)
        output = rest(process)
    assert process.returncode == 0, output
    assert leftovers(home) == []


def test_ctrl_c_while_it_starts_leaves_nothing(home: dict[str, str]) -> None:
    with demo("--port", "0", environ=home) as process:
        until(process, "Starting")
        process.send_signal(signal.SIGINT)
        output = rest(process)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert leftovers(home) == []


def test_a_port_in_use_is_told_before_anything_starts(home: dict[str, str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        done = pgfleet("demo", "--port", str(listener.getsockname()[1]), environ=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--port" in done.stderr
    assert "Address already in use" in done.stderr
    assert os.listdir(home["XDG_STATE_HOME"]) == []


def test_a_fleet_that_is_there_is_used_and_stays(home: dict[str, str]) -> None:
    assert pgfleet("local", "up", "--replicas", "1", environ=home).returncode == 0
    with demo("--seconds", "2", "--port", "0", environ=home) as process:
        output = rest(process)
    assert process.returncode == 0, output
    assert "the demo uses it, and leaves it running" in output
    assert "Everything is gone" not in output
    told = json.loads(pgfleet("local", "status", "--json", environ=home).stdout)
    assert [node["state"] for node in told["nodes"]] == ["running", "running"]


def test_no_primary_fails_reads_that_must_see_a_write_and_says_so(home: dict[str, str]) -> None:
    with demo("--seconds", "6", "--port", "0", environ=home) as process:
        until(process, r"reads/s")
        assert pgfleet("local", "kill", "primary", environ=home).returncode == 0
        output = rest(process)
    lost = re.search(r"([\d,]+) lost reads, 0 stale reads; [\d,]+ writes, ([\d,]+) failed", output)
    assert lost, output
    assert lost[2] != "0"
    assert process.returncode == (0 if lost[1] == "0" else 1)
    assert "the last error: no primary takes connections" in output
