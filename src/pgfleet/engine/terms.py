"""On what terms leases are had: while the router is open, and until when a caller waits for one."""

from __future__ import annotations

from collections.abc import Callable

from pgfleet.errors import RouterClosed


def check_time(timeout_s: float | None) -> None:
    """Raises ValueError for a time that is over before it begins."""
    if timeout_s is not None and not timeout_s > 0:
        raise ValueError(
            f"timeout_s must be above 0, not {timeout_s!r}; leave it out to wait as the settings say"
        )


class Terms:
    """The terms of one router."""

    def __init__(self, longest_wait_s: float, clock: Callable[[], float]) -> None:
        self.is_open = False
        self._longest_wait_s = longest_wait_s
        self._clock = clock

    def check_open(self) -> None:
        """Raises RouterClosed."""
        if not self.is_open:
            raise RouterClosed

    def lease_deadline_s(self, timeout_s: float | None = None, deadline_s: float | None = None) -> float:
        """When to stop waiting for a connection: by the settings, and by the caller's own wish if it is shorter."""
        check_time(timeout_s)
        limit_s = self._clock() + self._longest_wait_s
        if deadline_s is None and timeout_s is not None:
            deadline_s = self._clock() + timeout_s
        return limit_s if deadline_s is None else min(limit_s, deadline_s)
