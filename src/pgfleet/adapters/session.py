"""What a session of ours is like, whatever the driver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgfleet.settings import Dsn

Password = Callable[[], str] | None
"""Asked at each connect, in place of the password of the connection string."""

FATAL = frozenset(("FATAL", "PANIC"))
"""Severities after which the server ends the session."""

RESET_SQL = (
    "select pg_catalog.pg_advisory_unlock_all(); close all; unlisten *; "
    "set session authorization default; reset all; discard temp"
)
"""Takes back what a session can hold: locks, cursors WITH HOLD, channels, the role, settings, temporary tables.

`reset all` alone leaves `set role` as it is. Works on a standby. What `lastval()` tells stays: it is dear to forget.
"""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Where a session goes, and the settings that it starts with."""

    dsn: Dsn
    password: Password = None
    statement_timeout_s: float = 0.0
    """The server ends a statement that runs longer; 0: it does not."""
    read_only: bool = False
    """Refuse writes by `default_transaction_read_only`: a guard against accidents, not against SET."""
    pooled: bool = False
    """A pooler lends us a server's session for one transaction: it has no settings, statements or state of ours."""

    @property
    def parameters(self) -> dict[str, str]:
        """Those of the connection string, for a session such as this: `read-write` would refuse one of `read_only`."""
        given = dict(self.dsn.parameters)
        if self.read_only and given.get("target_session_attrs") == "read-write":
            given["target_session_attrs"] = "primary"
        return given

    @property
    def options(self) -> str:
        """The `options` of the startup packet: ours before those of the connection string, so that its own prevail.

        A pooler between us and a transaction of ours refuses them, so it is met at once if nobody told us of it.
        """
        ours = [] if self.pooled else [f"-c statement_timeout={round(self.statement_timeout_s * 1000)}"]
        if self.read_only and not self.pooled:
            ours.append("-c default_transaction_read_only=on")
        return " ".join([*ours, self.dsn.parameters.get("options", "")]).strip()
