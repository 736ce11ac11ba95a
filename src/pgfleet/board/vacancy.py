"""Those who wait for a primary, and the search that goes on for them."""

from __future__ import annotations

from pgfleet.core.schedule import Search
from pgfleet.core.topology import Topology
from pgfleet.ports import Runtime, Signal


class Vacancy:
    """The place of the primary while it is not filled. Changed under the board's lock, which is given to it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._search = Search()
        self._waiters: dict[Signal, None] = {}
        """In the order in which they came."""

    def is_searched(self, topology: Topology) -> bool:
        """Whether all nodes are asked in a hurry now."""
        return self._search.is_on(topology, len(self._waiters), self._runtime.clock())

    def report_failure(self) -> None:
        """A write has failed, and the place may be vacant."""
        self._search = Search(self._runtime.clock())

    def join(self) -> Signal:
        """Wait for the place to be filled: the signal is set then."""
        signal = self._runtime.signal()
        self._waiters[signal] = None
        return signal

    def leave(self, signal: Signal) -> None:
        """Wait no longer."""
        self._waiters.pop(signal, None)

    def fill(self) -> None:
        """There is a primary that takes writes: wake everybody."""
        waiters, self._waiters = self._waiters, {}
        for signal in waiters:
            signal.set()
