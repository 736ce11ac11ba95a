"""How many reads may be sent beside those that callers ask for: a share of these, kept under a lock."""

from __future__ import annotations

from typing import Any

from pgfleet.board import Board
from pgfleet.core.budget import Budget
from pgfleet.ports import Runtime


class Allowance:
    """A budget that is measured by the reads which all nodes have served."""

    def __init__(self, board: Board[Any], budget: Budget, runtime: Runtime) -> None:
        self._board = board
        self._budget = budget
        self._lock = runtime.lock()
        self._clock = runtime.clock

    def grant(self) -> bool:
        """Whether one more may be sent now; then it counts."""
        with self._lock:
            sent = sum(node.reads.leases for node in self._board.nodes.values())
            return self._budget.spend(sent, self._clock())
