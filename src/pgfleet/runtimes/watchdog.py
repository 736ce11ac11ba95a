"""A thread that makes short calls when they are due: what timers are among threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

logger = logging.getLogger("pgfleet")


class _Due:
    """A call of the watchdog: made, or cancelled, but never under way once `cancel` has returned."""

    __slots__ = ("_call", "_lock")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Forget the call, if it has not happened; wait for it, if it is happening."""
        with self._lock:
            self._call = None

    def happen(self) -> None:
        """Make the call, unless it was cancelled."""
        with self._lock:
            call, self._call = self._call, None
            if call:
                call()


class Watchdog:
    """A thread that makes short calls when they are due. It starts with the first of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, _Due]] = []
        self._serial = count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def call_later(self, delay_s: float, call: Callable[[], None]) -> _Due:
        """Make a call in `delay_s` seconds."""
        due = _Due(call)
        with self._changed:
            entry = (time.monotonic() + delay_s, next(self._serial), due)
            heappush(self._due, entry)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="pgfleet watchdog", daemon=True)
                self._thread.start()
            if self._due[0] is entry:
                self._changed.notify()
        return due

    def close(self) -> None:
        """Make no further call, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while due := self._next():
            try:
                due.happen()
            except Exception:  # the next call must still be made
                logger.exception("a call of the watchdog failed")

    def _next(self) -> _Due | None:
        with self._changed:
            while not self._closed:
                wait_s = self._due[0][0] - time.monotonic() if self._due else None
                if wait_s is not None and wait_s <= 0:
                    return heappop(self._due)[2]
                self._changed.wait(wait_s)
        return None
