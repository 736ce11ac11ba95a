"""Running `pgfleet` as a person does: a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

COMMAND = [sys.executable, "-c", "from pgfleet.cli import main; main()"]
TIMEOUT_S = 60


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """This machine's, without any fleet but the one given."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONUNBUFFERED": "1", "COLUMNS": "100"} | dict(environ or {})


def pgfleet(*args: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return run([*COMMAND, *args], environ)


def run(command: Sequence[str], environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The same for any command line."""
    return subprocess.run(
        command, env=environment(environ), capture_output=True, text=True, timeout=TIMEOUT_S
    )


def start(*args: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a command that goes on by itself; what it prints comes line by line."""
    return subprocess.Popen(
        [*COMMAND, *args],
        env=environment(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def row(output: str, name: str) -> list[str]:
    """The cells of a node's line in a table."""
    line = next(line for line in output.splitlines() if line.startswith(f"{name} "))
    return re.split(r"\s{2,}", line.strip())
