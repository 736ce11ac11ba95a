"""Writes down what clients did, from many threads or tasks, and counts the calls that failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

from pgfleet.drill.consistency.history import History, Read, Write


@dataclass
class Failures:
    """Calls of one kind that failed by one class of error."""

    call: str
    error: str
    first: str
    """What the first of them said."""
    count: int = 0


@dataclass
class Recorder:
    """One run's."""

    history: History = field(default_factory=History)
    _failures: dict[tuple[str, str], Failures] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def add(self, operation: Write | Read) -> None:
        """Note one that was answered, or a write of whatever outcome."""
        with self._lock:
            self.history.add(operation)

    def failed(self, call: str, error: BaseException) -> None:
        """Count one that was not answered."""
        name = type(error).__name__
        lines = str(error).strip().splitlines()
        with self._lock:
            known = self._failures.setdefault((call, name), Failures(call, name, lines[0] if lines else ""))
            known.count += 1

    @property
    def failures(self) -> tuple[Failures, ...]:
        """Most of them first."""
        return tuple(sorted(self._failures.values(), key=lambda found: -found.count))
