"""Warnings that would otherwise fill a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from math import inf
from threading import Lock

INTERVAL_S = 60.0

logger = logging.getLogger("pgfleet.carriers")


class Seldom:
    """Warns once a minute at most, however many threads have a reason to."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._warned_s = -inf

    def warn(self, message: str, *args: object) -> None:
        """Log the warning, unless there was one within the last minute."""
        if self._is_due():
            logger.warning(message, *args)

    def _is_due(self) -> bool:
        with self._lock:
            now_s = self._clock()
            due = now_s - self._warned_s >= INTERVAL_S
            if due:
                self._warned_s = now_s
            return due
