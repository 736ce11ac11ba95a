"""Under whom the servers run: never root, for PostgreSQL refuses that."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgfleet.errors import LocalFleetError

UNPRIVILEGED_USERS = ("postgres", "nobody")
"""To whom root steps down, the first that the system knows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, and all it printed."""

    returncode: int
    output: str


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system's user who owns the data directories and runs every server and tool."""

    uid: int
    gid: int

    @classmethod
    def choose(cls) -> Account:
        """The caller, or for root an unprivileged user. Raises LocalFleetError when root finds none."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        for name in UNPRIVILEGED_USERS:
            if entry := known.get(name):
                return cls(entry.pw_uid, entry.pw_gid)
        raise LocalFleetError(
            "PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it",
            "call pgfleet as an ordinary user",
        )

    @property
    def is_caller(self) -> bool:
        """Whether the servers run as the user who called."""
        return self.uid == os.geteuid()

    def run(self, *command: str | Path, log: int | None = None, timeout_s: float = 120.0) -> Outcome:
        """Run a command as this user, and wait for it; its output goes to the file descriptor `log` if one is given.

        Raises PermissionError or FileNotFoundError when this user cannot execute it, LocalFleetError when it does
        not end within `timeout_s`.
        """
        try:
            done = subprocess.run(  # noqa: S603 (the one place that starts programs, PostgreSQL's and the system's own)
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if log is None else log,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
                cwd="/",
                env=self._environment(),
                start_new_session=True,
                **self._identity(),
            )
        except subprocess.TimeoutExpired as expired:
            name = Path(command[0]).name
            raise LocalFleetError(
                f"{name} did not end within {timeout_s:g} s", "try again on a less busy machine"
            ) from expired
        return Outcome(done.returncode, (done.stdout or b"").decode(errors="replace"))

    def can_enter(self, directory: Path) -> bool:
        """Whether this user gets into a directory: root's own home, mode 700, is closed to others."""
        return self.run("/bin/sh", "-c", 'test -x "$1"', "sh", directory).returncode == 0

    def make_passable(self, directory: Path) -> None:
        """Make a directory, and what is missing above it, that this user can pass through and nobody else can read."""
        if not directory.is_dir():
            self.make_passable(directory.parent)
            directory.mkdir(exist_ok=True)
            directory.chmod(0o700 if self.is_caller else 0o711)

    def give(self, path: Path) -> None:
        """Make this user the owner of a file or directory that the caller has just made."""
        if not self.is_caller:
            os.chown(path, self.uid, self.gid)

    def _identity(self) -> dict[str, Any]:
        return {} if self.is_caller else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def _environment(self) -> dict[str, str]:
        """The caller's without what steers libpq, and with messages that we can read."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return kept | {"LC_ALL": "C", "TZ": "UTC"}
