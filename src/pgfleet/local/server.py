"""One server's processes: start, stop, kill, freeze."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGSTOP, Signals

from pgfleet.errors import LocalFleetError
from pgfleet.local.account import Account
from pgfleet.local.processes import Process, processes_of

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 15.0
RETRY_FOR_S = 5.0
UNSEEN_S = 0.5
"""A process in execve() has no command line for a moment: only one that stays unseen has ended."""

PAUSE_S = 0.01

LEFTOVERS = ("lock file", "Address already in use", "shared memory block")
"""In the log of a server that stumbled over what a killed one left behind for a moment."""


class ServerState(StrEnum):
    """What the processes of a server are doing."""

    RUNNING = "running"
    STARTING = "starting"
    FROZEN = "frozen"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LocalNode:
    """One node of a fleet: where it listens, where its files are, and under what names it follows a primary."""

    name: str
    port: int
    directory: Path
    slot: str
    application_name: str

    @property
    def data_directory(self) -> Path:
        """PGDATA."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What the server wrote to its log, all lives of it."""
        return self.directory / "server.log"

    @property
    def configuration(self) -> Path:
        """Outside the data directory, where neither pg_rewind nor a base copy overwrites it."""
        return self.directory / "postgresql.conf"


@dataclass(frozen=True, slots=True)
class Server:
    """The processes of one node. Errors are LocalFleetError."""

    node: LocalNode
    title: str
    """`cluster_name`, with which each child's title begins."""
    postgres: Path
    account: Account

    @property
    def _argument(self) -> str:
        return f"config_file={self.node.configuration}"

    def processes(self) -> list[Process]:
        """The postmaster and its children, orphans of a killed one too."""
        return processes_of(self._argument, f"postgres: {self.title}: ")

    def postmaster(self) -> Process | None:
        """The postmaster, if it lives."""
        lines = self._pid_file()
        pid = int(lines[0]) if lines and lines[0].isdigit() else 0
        return next((process for process in self.processes() if process.pid == pid), None)

    def state(self) -> ServerState:
        """What the postmaster is doing. One that goes down counts as starting: it takes no connections."""
        postmaster = self.postmaster()
        if postmaster is None:
            return ServerState.STOPPED
        if postmaster.is_stopped:
            return ServerState.FROZEN
        return ServerState.RUNNING if self._is_ready() else ServerState.STARTING

    def spawn(self) -> None:
        """Start it, detached from the caller, and do not wait.

        Not by `pg_ctl start`, which never returns while a pipe reads its output. The shell puts the server into the
        background and ends, so that it is not the caller's child and its end leaves no zombie.
        """
        self.sweep()
        log = os.open(self.node.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        arguments = ("-D", self.node.data_directory, "-c", self._argument)
        try:
            self.account.run("/bin/sh", "-c", '"$@" &', "sh", self.postgres, *arguments, log=log)
        finally:
            os.close(log)

    def wait_ready(self, within_s: float = START_TIMEOUT_S) -> None:
        """Wait until it takes connections. What a killed server left can stop the first attempts: then again."""
        deadline_s = time.monotonic() + within_s
        retries_end_s = time.monotonic() + RETRY_FOR_S
        seen_s = time.monotonic()
        while not self._is_ready():
            if self.processes():
                seen_s = time.monotonic()
            elif time.monotonic() > seen_s + UNSEEN_S:
                self._retry_or_raise(may_retry=time.monotonic() < retries_end_s)
            if time.monotonic() > deadline_s:
                raise LocalFleetError(
                    f"{self.node.name} is still starting\n{self._last_words()}", f"see {self.node.log}"
                )
            time.sleep(PAUSE_S)

    def stop(self) -> None:
        """End it cleanly (a fast shutdown); what has not ended in time is killed."""
        if postmaster := self.postmaster():
            self.thaw()
            postmaster.send(SIGINT)
            with contextlib.suppress(LocalFleetError):
                self.wait(lambda: not self.processes(), STOP_TIMEOUT_S, "stop")
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the postmaster and every child, until none is left: the end of a machine, for its clients."""
        self.wait(self._all_killed, KILL_TIMEOUT_S, "die")

    def freeze(self) -> None:
        """SIGSTOP to the postmaster and every child, until one look after the last finds no other."""
        self.wait(self._all_stopped, KILL_TIMEOUT_S, "freeze")
        self.wait(self._all_stopped, KILL_TIMEOUT_S, "freeze")

    def thaw(self) -> None:
        """SIGCONT to all."""
        for process in self.processes():
            process.send(SIGCONT)

    def reload(self) -> None:
        """Let it read its configuration again; it does so in its own time."""
        if postmaster := self.postmaster():
            postmaster.send(SIGHUP)

    def _free_shared_memory(self) -> None:
        """What outlives a killed server in the kernel: the small segment that guards its data directory."""
        lines = self._pid_file()
        if len(lines) > 6 and (key := lines[6].split()):
            with contextlib.suppress(OSError):
                self.account.run("ipcrm", "-M", key[0])

    def sweep(self) -> None:
        """End what is left of an earlier life: orphans, and a lock file whose pid may be another's by now."""
        self.kill()
        self._free_shared_memory()
        self._pid_path.unlink(missing_ok=True)

    @property
    def _pid_path(self) -> Path:
        return self.node.data_directory / "postmaster.pid"

    def _pid_file(self) -> list[str]:
        with contextlib.suppress(OSError):
            return self._pid_path.read_text().splitlines()
        return []

    def _is_ready(self) -> bool:
        return [line.strip() for line in self._pid_file()[7:8]] == ["ready"]

    def _all_killed(self) -> bool:
        return not self._send_all(SIGKILL, self.processes())

    def _all_stopped(self) -> bool:
        return not self._send_all(
            SIGSTOP, [process for process in self.processes() if not process.is_stopped]
        )

    def _send_all(self, number: Signals, processes: list[Process]) -> list[Process]:
        for process in processes:
            process.send(number)
        return processes

    def wait(self, condition: Callable[[], bool], within_s: float, verb: str) -> None:
        """Ask until it is so. Raises LocalFleetError when the server did not `verb` within `within_s`."""
        deadline_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise LocalFleetError(
                    f"{self.node.name} did not {verb} within {within_s:g} s", f"see {self.node.log}"
                )
            time.sleep(PAUSE_S / 2)

    def _retry_or_raise(self, *, may_retry: bool) -> None:
        words = self._last_words()
        if not (may_retry and any(leftover in words for leftover in LEFTOVERS)):
            raise LocalFleetError(f"{self.node.name} did not start\n{words}", f"see {self.node.log}")
        self.spawn()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.node.log.read_text(errors="replace").splitlines()[-6:])
        return ""
