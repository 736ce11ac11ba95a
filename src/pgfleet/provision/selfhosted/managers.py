"""Who starts and stops a server on its host: systemd, Debian's pg_ctlcluster, or nobody but pg_ctl."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pgfleet.provision.selfhosted.host import Host

START_TIMEOUT_S = 600.0
"""A standby recovers before it takes connections; pg_ctl itself waits this long."""


@dataclass(frozen=True, slots=True)
class Manager:
    """How one server is started and stopped."""

    kind: str
    major: int
    bin_directory: str = ""
    data_directory: str = ""
    log: str = ""
    cluster: str = ""
    unit: str = ""

    def argv(self, action: str) -> tuple[str, ...]:
        """The command for `start`, `stop`, `restart`, `reload`."""
        if self.kind == "systemd":
            return ("systemctl", action, self.unit)
        if self.kind == "pg_ctlcluster":
            return ("pg_ctlcluster", str(self.major), self.cluster, action)
        return (f"{self.bin_directory}/pg_ctl", action, "-D", self.data_directory, *self._manner(action))

    def _manner(self, action: str) -> tuple[str, ...]:
        wait = ("-w", "-t", f"{START_TIMEOUT_S:.0f}")
        log = ("-l", self.log) if self.log else ()
        return {
            "start": (*wait, *log),
            "stop": ("-m", "fast", *wait),
            "restart": ("-m", "fast", *wait, *log),
            "reload": (),
        }[action]

    def shown(self, action: str, os_user: str) -> str:
        """The same as a person types it."""
        before = f"sudo -u {os_user} " if self.kind == "pg_ctl" else "sudo "
        return before + shlex.join(self.argv(action))

    async def do(self, host: Host, action: str) -> None:
        """Do it, and return when it is done. A server that is started must not keep the pipes of who started it."""
        argv = ("sh", "-c", _DETACHED, "sh", *self.argv(action))
        run = host.owner if self.kind == "pg_ctl" else host.root
        await run(*argv, timeout_s=START_TIMEOUT_S + 30, title=shlex.join(self.argv(action)))


_DETACHED = """
said=$(mktemp)
"$@" </dev/null >"$said" 2>&1
code=$?
cat "$said" >&2
rm -f "$said"
exit $code
"""
"""A file, for a server that inherits a pipe keeps its reader waiting for as long as it lives."""
