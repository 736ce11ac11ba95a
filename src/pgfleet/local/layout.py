"""Where a fleet's files lie, and the lock that lets one caller at a time change it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pgfleet.errors import LocalFleetError
from pgfleet.local.account import Account

LOCK_TIMEOUT_S = 120.0
ROOTS_STATE = Path("/var/lib")
"""Where a fleet of root's lies when nobody else may enter root's home."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one fleet, all below `directory`."""

    directory: Path

    @classmethod
    def at(cls, directory: str | Path | None, account: Account) -> Layout:
        """The layout for a directory that a caller named, or for the default one."""
        chosen = Path(directory).expanduser() if directory is not None else state_root(account) / "local"
        return cls(chosen.resolve())

    @property
    def identity(self) -> str:
        """Marks this fleet's processes among those of other fleets."""
        return hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:8]

    @property
    def state(self) -> Path:
        """Ports, passwords and nodes."""
        return self.directory / "state.json"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the fleet."""
        return self.directory / "lock"

    @property
    def hba(self) -> Path:
        """Who may log in, the same on every node."""
        return self.directory / "pg_hba.conf"

    @property
    def passfile(self) -> Path:
        """The password for the replicas' connections, which so stands in no configuration and on no command line."""
        return self.directory / "pgpass"

    @property
    def nodes(self) -> Path:
        """One directory for each node."""
        return self.directory / "nodes"

    def node(self, name: str) -> Path:
        """The directory of one node: its data, configuration and log."""
        return self.nodes / name

    def prepare(self, account: Account) -> None:
        """Make the directory, unless a fleet is in it.

        Raises LocalFleetError when it holds something else, or the servers' user cannot reach it.
        """
        if self.state.exists():
            return
        self.check_free()
        account.make_passable(self.directory)
        self.directory.chmod(0o700 if account.is_caller else 0o711)
        if not account.can_enter(self.directory):
            raise LocalFleetError(
                f"the servers' user (uid {account.uid}) cannot reach {self.directory}",
                "name a directory whose parents others may enter, for instance below /var/lib",
            )

    def check_free(self) -> None:
        """Raises LocalFleetError when something else than a fleet is in the directory."""
        known = {path.name for path in (self.state, self.lock, self.hba, self.passfile, self.nodes)}
        there = {path.name for path in self.directory.iterdir()} if self.directory.exists() else set()
        if foreign := sorted(there - known):
            raise LocalFleetError(
                f"{self.directory} holds {foreign[0]}, which is not a fleet's",
                "name an empty or new directory",
            )

    def clear(self) -> None:
        """Remove every file of the fleet; the lock last, and the directory if nothing else is in it."""
        shutil.rmtree(self.nodes, ignore_errors=True)
        for path in (self.hba, self.passfile, self.state, self.lock):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    @contextlib.contextmanager
    def locked(self, account: Account | None = None) -> Iterator[None]:
        """Hold the fleet's lock; with an account, in a directory prepared for it.

        Raises FileNotFoundError when there is no directory, LocalFleetError when another process keeps the lock.
        """
        deadline_s = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            if account is not None:
                self.prepare(account)
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                _flock(descriptor, deadline_s)
                # Whoever takes a fleet down removes the lock that others wait for: they wait again, for the new one.
                if _is_same_file(descriptor, self.lock):
                    yield
                    return
            finally:
                os.close(descriptor)


def state_root(account: Account) -> Path:
    """XDG_STATE_HOME or ~/.local/state, or a place that the servers' user can reach when root's home is closed."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    existing = next(path for path in (home, *home.parents) if path.is_dir())
    return (home if account.can_enter(existing) else ROOTS_STATE) / "pgfleet"


def temporary_directory(account: Account) -> Path:
    """A new directory for a fleet that lives no longer than its caller."""
    directory = Path(tempfile.mkdtemp(prefix="pgfleet-"))
    if account.can_enter(directory.parent):
        return directory
    directory.rmdir()
    raise LocalFleetError(
        f"the servers' user (uid {account.uid}) cannot reach {directory.parent}",
        "set TMPDIR to a directory open to all",
    )


def _flock(descriptor: int, deadline_s: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise LocalFleetError(
                    "another process has been changing this fleet for too long", "end it, then try again"
                ) from None
        time.sleep(0.01)


def _is_same_file(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False
