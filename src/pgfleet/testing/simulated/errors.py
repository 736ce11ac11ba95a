"""The errors of a driver that is none."""

from __future__ import annotations

from pgfleet.core.failure import Fault


class SimulatedError(Exception):
    """An error of the simulated driver, which tells its own meaning."""

    def __init__(self, text: str, fault: Fault) -> None:
        super().__init__(text)
        self.fault = fault


def lost(text: str = "server closed the connection unexpectedly") -> SimulatedError:
    """The connection is gone."""
    return SimulatedError(text, Fault(lost=True))


def sql_error(sqlstate: str, *, fatal: bool = False) -> SimulatedError:
    """The server's own word; `fatal`: its last in this session."""
    return SimulatedError(f"error {sqlstate}", Fault(sqlstate=sqlstate, lost=fatal))
