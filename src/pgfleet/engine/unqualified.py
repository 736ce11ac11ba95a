"""What becomes of a read when no replica qualifies for it: whether it waits for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgfleet.board import Board
from pgfleet.core.intent import ReadIntent
from pgfleet.core.node import Reason
from pgfleet.core.plan import Plan
from pgfleet.engine.refusals import no_replica
from pgfleet.ports import Runtime

PAUSE_S = 0.05
"""Between two looks for a replica that qualifies."""


class Unqualified:
    """Keeps reads waiting that take nobody but a replica."""

    def __init__(self, board: Board[Any], runtime: Runtime) -> None:
        self._board = board
        self._runtime = runtime
        self._clock = runtime.clock

    async def waits(self, plan: Plan, intent: ReadIntent, deadline_s: float) -> bool:
        """Whether to plan again, after a pause, because no replica qualifies and nobody else is wanted.

        Raises NoReplica when the time for that is over, or none is given.
        """
        policy = intent.unqualified or self._board.settings.unqualified
        if (
            plan.replicas
            or not intent.prefer_replica
            or policy == "primary"
            or not self._board.fallback.is_capped
        ):
            return False
        left_s = deadline_s - self._clock()
        if policy == "error" or left_s <= 0:
            raise no_replica(self._board, plan, intent)
        await self._runtime.signal().wait(min(PAUSE_S, left_s))
        return True

    async def waits_for_fit(
        self, plan: Plan, unfit: Mapping[str, Reason], intent: ReadIntent, deadline_s: float
    ) -> bool:
        """The same once these shared endpoints of the plan have turned out to lead to nobody who qualifies."""
        late = dict.fromkeys(plan.checked, Reason.BUSY) if self._clock() >= deadline_s else {}
        out = {**late, **unfit}
        return bool(out) and await self.waits(plan.without(out), intent, deadline_s)
