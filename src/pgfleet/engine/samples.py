"""Samples of the primary that reads ask for: few, however many orgs write."""

from __future__ import annotations

from typing import Any

from pgfleet.board import Board
from pgfleet.core.budget import Ration
from pgfleet.ports import Runtime, Watcher

SAMPLES_PER_WRITE = 0.15
SAMPLES_PER_S = 2.0
"""As many are free: a fleet with few writes has no need to save."""
BURST = 5
LEAST_PAUSE_S = 0.0005
LONGEST_PAUSE_S = 0.05
"""Between two questions to a primary that does not answer: it may have no connection left for them."""


class Samples:
    """Learns where the primary stands, for all who want to know at once."""

    def __init__(self, board: Board[Any], watcher: Watcher, runtime: Runtime) -> None:
        self._board = board
        self._watcher = watcher
        self._runtime = runtime
        self._ration = Ration(SAMPLES_PER_WRITE, SAMPLES_PER_S, BURST)
        self._lock = runtime.lock()

    async def after(self, moment_s: float, deadline_s: float, *, rationed: bool = True) -> bool:
        """Have a sample that was asked for after this moment; False: there is none by the deadline, at once if that is
        foreseen.

        One question serves all who wait. Whoever comes while one is under way waits for the next: its answer may be
        older than his moment. `rationed`: the questions of all such callers together are kept to a part of the writes.
        """
        pause_s = LEAST_PAUSE_S
        while not self.has(moment_s):
            left_s = deadline_s - self._runtime.clock()
            primary = self._board.topology.primary
            if left_s <= 0 or primary is None or primary.is_aurora:
                return False
            wait_s = self._wait_s() if rationed else 0.0
            if wait_s > left_s:
                return False
            if not wait_s:
                await self._watcher.refresh((primary.name,), left_s)
            if not self.has(moment_s):  # not yet asked, or in vain, or within the same tick of the clock
                await self._runtime.signal().wait(min(left_s, max(pause_s, wait_s)))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return True

    def has(self, moment_s: float) -> bool:
        """Whether a sample is known that was asked for after this moment."""
        last_s = self._board.topology.history.last_asked_s
        return last_s is not None and last_s > moment_s

    def _wait_s(self) -> float:
        with self._lock:
            writes = sum(node.writes.leases for node in self._board.nodes.values())
            return self._ration.wait_s(writes, self._board.samples, self._runtime.clock())
