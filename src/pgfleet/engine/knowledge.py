"""How callers wait for fresher knowledge: of the replicas to read from, and of who is the primary."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from pgfleet.board import Board
from pgfleet.core.intent import ReadIntent
from pgfleet.core.node import UNPROVEN, Reason
from pgfleet.core.plan import Plan, lag_s
from pgfleet.core.succession import is_hopeless
from pgfleet.engine.samples import Samples
from pgfleet.ports import Runtime, Watcher

REFRESH_TIMEOUT_S = 0.5
"""The longest that a read waits for fresher knowledge before it goes to the primary."""
LOOK_S = 0.05
"""The longest that the answers of some replicas wait for that of another, which may be silent."""
FIRST_PAUSE_S = 0.005
"""Between the first two looks at a replica that is about to catch up; then twice as long each time."""

_BEHIND = (Reason.STALE, Reason.STALENESS_UNKNOWN)


class Knowledge:
    """What is believed of the nodes, brought up to date as a caller needs it."""

    def __init__(self, board: Board[Any], watcher: Watcher, samples: Samples, runtime: Runtime) -> None:
        self._board = board
        self._samples = samples
        self._watcher = watcher
        self._runtime = runtime

    def ask(self, name: str) -> None:
        """Have this node looked at. Nobody waits for it."""
        self._watcher.ask(name)

    def _ask_all(self, names: Iterable[str]) -> None:
        for name in names:
            self._watcher.ask(name)

    async def refresh(self, names: Iterable[str], deadline_s: float = inf) -> None:
        """Have these nodes looked at, and wait for their answers until `deadline_s`, at most half a second."""
        left_s = max(0.0, deadline_s - self._runtime.clock())
        await self._watcher.refresh(tuple(names), min(left_s, REFRESH_TIMEOUT_S))

    # of the replicas

    async def plan(self, intent: ReadIntent, deadline_s: float) -> Plan:
        """The plan of this read. When nobody qualifies but for want of fresher knowledge, that is asked for first."""
        plan = self._board.plan(intent)
        if self._runtime.clock() >= plan.refresh_at_s:
            self._ask_all(plan.replicas)
        if intent.after and intent.after.timeline > self._board.topology.highest_timeline:
            plan = await self._find_promotion(intent, deadline_s)
        if not intent.prefer_replica or plan.is_sure:
            return plan
        if plan.checked:
            return await self._comparable(intent, plan, deadline_s)
        if not self._would_help(plan, intent):
            return plan
        if intent.must_see:
            return await self._catch_up(intent, plan, deadline_s)
        return await self._fresh_plan(intent, plan, deadline_s)

    def _would_help(self, plan: Plan, intent: ReadIntent) -> bool:
        return intent.not_before_s != inf and any(reason in UNPROVEN for _, reason in plan.left_out)

    async def _comparable(self, intent: ReadIntent, plan: Plan, deadline_s: float) -> Plan:
        """Have a sample of the primary to which the servers of a shared endpoint are compared, asked one by one."""
        wait_s = self._board.settings.catchup_wait_ms / 1000 if intent.must_see else REFRESH_TIMEOUT_S
        deadline_s = min(deadline_s, self._runtime.clock() + wait_s)
        moment_s = self._comparable_s(intent, plan)
        if not await self._samples.after(moment_s, deadline_s, rationed=intent.must_see):
            if intent.not_before_s is not None and not self._samples.has(intent.not_before_s):
                # To ask its servers would prove nothing.
                return plan.without(dict.fromkeys(plan.checked, Reason.NOT_CAUGHT_UP))
            return plan
        behind = tuple(name for name, reason in plan.left_out if reason in UNPROVEN)
        left_s = deadline_s - self._runtime.clock()
        if behind and left_s > 0:
            await self._watcher.refresh(behind, min(left_s, LOOK_S))
        return self._board.plan(intent)

    def _comparable_s(self, intent: ReadIntent, plan: Plan) -> float:
        """The moment after which that sample must have been taken."""
        bound_s = self._board.settings.max_lag_s if intent.max_lag_s is None else intent.max_lag_s
        elsewhere = intent.seat if intent.seat and intent.seat.name not in plan.checked else None
        seen_s = elsewhere.until_s if elsewhere else -inf
        return max(intent.not_before_s or -inf, seen_s, self._runtime.clock() - bound_s / 2)

    async def _find_promotion(self, intent: ReadIntent, deadline_s: float) -> Plan:
        """Another process has seen a promotion of which we know nothing yet: look at every node."""
        await self.refresh(self._board.nodes, deadline_s)
        return self._board.plan(intent)

    async def _catch_up(self, intent: ReadIntent, plan: Plan, deadline_s: float) -> Plan:
        """Learn where the primary stood after what the read must see, and look at the replicas until one has it."""
        wait_s = self._board.settings.catchup_wait_ms / 1000
        if (intent.unqualified or self._board.settings.unqualified) != "wait":
            deadline_s = min(deadline_s, self._runtime.clock() + wait_s)
        pause_s = FIRST_PAUSE_S
        if not await self._samples.after(self._latest_s(intent, plan), deadline_s):
            return plan
        while (left_s := deadline_s - self._runtime.clock()) > 0:
            behind = tuple(name for name, reason in plan.left_out if reason in UNPROVEN)
            await self._watcher.refresh(behind, min(left_s, LOOK_S))
            plan = self._board.plan(intent)
            if plan.replicas or not self._would_help(plan, intent):
                break
            await self._runtime.signal().wait(max(0.0, min(pause_s, deadline_s - self._runtime.clock())))
            pause_s = min(2 * pause_s, LOOK_S)
        return plan

    def _latest_s(self, intent: ReadIntent, plan: Plan) -> float:
        """The latest moment that a sample of the primary must have been taken after, for this read."""
        seen_s = intent.seat.until_s if intent.seat else -inf
        bound_s = self._board.settings.max_lag_s if intent.max_lag_s is None else intent.max_lag_s
        is_old = any(reason in _BEHIND for _, reason in plan.left_out)
        fresh_s = self._runtime.clock() - bound_s / 2 if is_old else -inf
        return max(intent.not_before_s or -inf, seen_s, fresh_s)

    async def _fresh_plan(self, intent: ReadIntent, plan: Plan, deadline_s: float) -> Plan:
        """Sample the primary once, then the replicas until one of them covers that sample, for a short while."""
        deadline_s = min(deadline_s, self._runtime.clock() + REFRESH_TIMEOUT_S)
        pause_s = FIRST_PAUSE_S
        if plan.primary:
            await self.refresh((plan.primary,), deadline_s)
        replicas = tuple(name for name, reason in plan.left_out if reason in UNPROVEN)
        while not plan.replicas and replicas and (left_s := deadline_s - self._runtime.clock()) > 0:
            await self._watcher.refresh(replicas, min(left_s, LOOK_S))
            plan = self._board.plan(intent)
            if plan.replicas or not self._would_help(plan, intent) or not self._may_catch_up(plan):
                break
            await self._runtime.signal().wait(max(0.0, min(pause_s, deadline_s - self._runtime.clock())))
            pause_s *= 2
        return plan

    def _may_catch_up(self, plan: Plan) -> bool:
        """Whether some replica is only stale, and so little that it may qualify while a read waits."""
        topology = self._board.topology
        behind = {name for name, reason in plan.left_out if reason in _BEHIND}
        lags = [lag_s(topology, node) for node in topology.nodes if node.name in behind]
        return any(lag is None or lag < REFRESH_TIMEOUT_S for lag in lags)

    # of the primary

    async def await_writer(self, deadline_s: float) -> bool:
        """Wait for a primary that takes writes, with all nodes asked in a hurry; False when none came in time."""
        if is_hopeless(self._board.topology):
            await self.refresh(self._board.nodes, deadline_s)
            if is_hopeless(self._board.topology):
                return False
        self.search()
        came = self._board.await_writer()
        try:
            return await came.wait(max(0.0, deadline_s - self._runtime.clock()))
        finally:
            self._board.stop_waiting(came)

    def search(self) -> None:
        """A write has failed: have all nodes asked, and in a hurry until one of them is the primary."""
        goes_on = self._board.vacancy.is_searched(self._board.topology)
        self._board.failed_write()
        if not goes_on:
            self._ask_all(tuple(self._board.nodes))
