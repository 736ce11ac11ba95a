"""Programs that tests run beside PostgreSQL: each under the servers' user, in a group of its own that ends with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pgfleet.local.account import Account
from pgfleet.local.layout import temporary_directory

PATRONI_VENV = Path("/var/lib/pgfleet-tests/patroni-4.1.5")
SEARCHED = os.pathsep.join((str(PATRONI_VENV / "bin"), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def program(name: str) -> str:
    """The path of a program that `scripts/install-test-servers` sees to."""
    found = shutil.which(name, path=SEARCHED)
    assert found, f"{name} is missing: run scripts/install-test-servers"
    return found


@contextmanager
def scratch(account: Account) -> Iterator[Path]:
    """A directory of the servers' user, gone afterwards."""
    directory = temporary_directory(account)
    try:
        directory.chmod(0o755)
        account.give(directory)
        yield directory
    finally:
        shutil.rmtree(directory)


class Daemon:
    """One program in the foreground, with its output in `log`; may be started again."""

    def __init__(self, account: Account, log: Path, *command: str | Path) -> None:
        self._account = account
        self._command = [str(part) for part in command]
        self._log = log
        self._process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Start it, with nothing of the tests' environment."""
        account = self._account
        identity: dict[str, Any] = (
            {} if account.is_caller else {"user": account.uid, "group": account.gid, "extra_groups": []}
        )
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                env={"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": SEARCHED},
                **identity,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and all that it started in its group."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, and return when it is gone."""
        self.send(number)
        if self._process:
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.send(signal.SIGKILL)
                self._process.wait()
        self._process = None

    def said(self) -> str:
        """All it wrote so far, for the message of an assertion."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""
