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

    @property
    def options(self) -> str:
        """The `options` of the startup packet: ours before those of the connection string, so that its own prevail."""
        settings = {
            "statement_timeout": round(self.statement_timeout_s * 1000),
            "default_transaction_read_only": "on" if self.read_only else "",
        }
        ours = [f"-c {name}={value}" for name, value in settings.items() if value]
        return " ".join([*ours, self.dsn.parameters.get("options", "")]).strip()
