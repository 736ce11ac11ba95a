"""The operating system's processes, found by their command lines."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process that is not a zombie."""

    pid: int
    is_stopped: bool
    """By SIGSTOP."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended meanwhile is as good as signalled."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def processes_of(argument: str, title: str) -> list[Process]:
    """The processes started with `argument` on their command line, or that call themselves `title...`.

    A postmaster keeps the command line it was started with, and so does a child until it has given itself a title; no
    child of PostgreSQL stays in the postmaster's process group, and an orphan loses its parent: so by name it is.
    """
    return list(
        _from_proc(argument, title) if PROC.joinpath("self/stat").exists() else _from_ps(argument, title)
    )


def _from_proc(argument: str, title: str) -> Iterator[Process]:
    wanted, prefix = os.fsencode(argument), os.fsencode(title)
    for name in os.listdir(PROC):
        if name.isdigit():
            with contextlib.suppress(OSError):
                line = PROC.joinpath(name, "cmdline").read_bytes()
                if line.startswith(prefix) or wanted in line.split(b"\0"):
                    yield from _live(int(name), _state(name))


def _state(pid: str) -> str:
    """Its letter in `/proc/<pid>/stat`, after the program's name, which may hold anything but ends at the last `)`."""
    return PROC.joinpath(pid, "stat").read_text().rpartition(")")[2].split()[0]


def _from_ps(argument: str, title: str) -> Iterator[Process]:
    """Where there is no /proc (macOS)."""
    listing = subprocess.run(
        ["/bin/ps", "-axwwo", "pid=,stat=,command="],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
    ).stdout
    for line in listing.splitlines():
        pid, state, command = line.split(None, 2)
        if command.startswith(title) or f" {argument} " in f"{command} ":
            yield from _live(int(pid), state[0])


def _live(pid: int, state: str) -> Iterator[Process]:
    if state not in "ZX" and pid != os.getpid():
        yield Process(pid, is_stopped=state == "T")
