"""Whether a read that was sent and failed is sent once more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pgfleet.board import Board
from pgfleet.core.attempts import Tried, came_back_the_same, is_to_blame
from pgfleet.core.budget import retry_budget
from pgfleet.core.topology import NodeState
from pgfleet.engine.allowance import Allowance
from pgfleet.ports import Runtime, Watcher

LOOK_S = 0.5
"""How long a read that has lost two connections waits for word of their servers."""
NOTICE_S = 0.2
"""How long one that answers is looked at: a postmaster takes a moment to notice that a backend of it has crashed."""
PAUSE_S = 0.02
"""Between two looks. A server may be down for no longer."""
LEAST_S = 0.001
"""Less time than this is none: after whole pauses it may be nothing but the clock's rounding."""


class Retries:
    """Grants retries, out of a budget that is a share of the reads. Asked only when a read has failed."""

    def __init__(self, board: Board[Any], watcher: Watcher, runtime: Runtime) -> None:
        self._board = board
        self._watcher = watcher
        self._runtime = runtime
        connections = sum(replica.max_connections for replica in board.settings.replicas)
        budget = retry_budget(board.settings.retry_budget, connections)
        self._allowance = Allowance(board, budget, runtime)

    async def refusal(self, tried: Tried, deadline_s: float) -> str | None:
        """Why this read, which has time until `deadline_s`, is not sent once more; None: it is."""
        if tried.suspicious and await self._ends_servers(tried.lost, deadline_s):
            return f"its connection ended on {' and on '.join(sorted(tried.lost))}, as if it crashed them"
        if deadline_s - self._runtime.clock() < LEAST_S:
            return "its time is over"
        if self._allowance.grant():
            return None
        return f"the retry budget (PGFLEET_RETRY_BUDGET={self._board.settings.retry_budget:g}) is spent"

    async def _ends_servers(self, lost: frozenset[str], deadline_s: float) -> bool:
        """Whether one of these servers comes back as after a crashed backend, and no other cause is known for two.

        Waits half a second for it. When all of them are well at once, the network ended the connections; one that stays
        away, or comes back in another life, was not ended by this read.
        """
        before, began_s = self._states(lost), self._runtime.clock()
        until_s, down, away = min(deadline_s, began_s + LOOK_S), frozenset[str](), lost
        await self._look_at(lost, until_s)  # it may learn no more than that its own connection was lost too
        while away or self._runtime.clock() < began_s + NOTICE_S:
            await self._look_at(lost, until_s)
            away = frozenset(name for name, state in self._states(lost).items() if state.trouble)
            down |= away
            left_s = until_s - self._runtime.clock()
            if left_s <= LEAST_S:
                break
            await self._runtime.signal().wait(min(PAUSE_S, left_s))
        same = {n for n, now in self._states(lost).items() if came_back_the_same(before[n].observation, now)}
        return is_to_blame(len(same), bool(same & down), len(self._board.topology.staying))

    def _states(self, names: Iterable[str]) -> dict[str, NodeState]:
        """What is believed of those of them that still belong to the fleet."""
        return {node.name: node for node in self._board.topology.nodes if node.name in names}

    async def _look_at(self, names: Iterable[str], until_s: float) -> None:
        await self._watcher.refresh(tuple(sorted(names)), max(0.0, until_s - self._runtime.clock()))
