"""Lends connections of an address behind which several servers stand: each is judged by its own server.

Its server is asked on the connection itself, and only when what is known of it does not prove what the read wants.
docs/design/shared-endpoints.md has the reasons.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Generic, TypeVar

from pgfleet.board import Board, Node
from pgfleet.core.ground import server_of
from pgfleet.core.intent import ReadIntent
from pgfleet.core.node import Reason
from pgfleet.core.plan import Plan
from pgfleet.engine.knowledge import Knowledge
from pgfleet.engine.returns import Returns
from pgfleet.pool import Pooled
from pgfleet.ports import Runtime
from pgfleet.watch import observe

C = TypeVar("C")

ASK_TIMEOUT_S = 0.25
"""A server that lives answers in a millisecond or two. One that does not costs the read this, and its connection."""
MOST_ASKED = 4
"""Servers that one read asks, those that had replayed most first."""
OPEN_AGAIN_S = 0.5
"""After a new connection that led to no server that would do. Each read would open one, while none is there."""


class Unfit(Exception):
    """No connection of this address would do."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Endpoints(Generic[C]):
    """Lends connections of a node: of a shared endpoint, such as lead to a server that is fresh enough for the read."""

    def __init__(self, board: Board[C], knowledge: Knowledge, returns: Returns[C], runtime: Runtime) -> None:
        self._board = board
        self._knowledge = knowledge
        self._returns = returns
        self._runtime = runtime
        self._clock = runtime.clock

    def refuses(self, plan: Plan, pooled: Pooled[C], intent: ReadIntent) -> Reason | None:
        """Why its server, one of several by this plan, is not known to do for this read; None: it is, or is no such."""
        return self._board.why_not(pooled, intent) if pooled.pool.owner.name in plan.checked else None

    async def lend(self, node: Node[C], intent: ReadIntent, deadline_s: float, connect_s: float) -> Pooled[C]:
        """A connection for this read; to connect may take `connect_s`. Raises Unfit, and what the pool raises."""
        if not self._board.state(node).is_shared:
            pooled = await node.reads.acquire(deadline_s, connect_s)
            if not self._board.state(node).is_shared:
                return pooled
            node.reads.give(pooled)  # this very connection has shown that there are several servers
        return await self._lend_one_of_several(node, intent, deadline_s, connect_s)

    async def _lend_one_of_several(
        self, node: Node[C], intent: ReadIntent, deadline_s: float, connect_s: float
    ) -> Pooled[C]:
        held: list[Pooled[C]] = []
        try:
            pooled = await self._find(node, intent, held, deadline_s, connect_s)
        finally:
            for other in held:
                node.reads.give(other)
        pooled.lent_s = self._clock()
        return pooled

    async def _find(
        self, node: Node[C], intent: ReadIntent, held: list[Pooled[C]], deadline_s: float, connect_s: float
    ) -> Pooled[C]:
        """Add to `held` what is to be given back."""
        if (pooled := self._known_to_do(node, intent, held)) or (pooled := await self._ask(held, intent)):
            return pooled
        if held:
            return await self._open(node, intent, held, deadline_s, connect_s)
        held.append(await node.reads.acquire(deadline_s, connect_s))
        if not self._board.why_not(held[0], intent):
            return held.pop()
        if pooled := await self._ask(held, intent):
            return pooled
        return await self._open(node, intent, held, deadline_s, connect_s)

    def _known_to_do(self, node: Node[C], intent: ReadIntent, held: list[Pooled[C]]) -> Pooled[C] | None:
        """An idle connection that need not be asked; else one of each server is held, and the others are given back."""
        rest: list[Pooled[C]] = []
        servers = set()
        found: Pooled[C] | None = None
        while found is None and (pooled := node.reads.take()):
            server = pooled.seen and server_of(pooled.seen)
            if server in servers:
                rest.append(pooled)
            elif self._board.why_not(pooled, intent):
                servers.add(server)
                held.append(pooled)
            else:
                found = pooled
        for pooled in reversed(rest):
            node.reads.give(pooled)
        return found

    async def _ask(self, held: list[Pooled[C]], intent: ReadIntent) -> Pooled[C] | None:
        """The first of these whose server, asked now, would do. It is held no longer, nor is one that is lost."""
        for pooled in sorted(held, key=_replayed, reverse=True)[:MOST_ASKED]:
            held.remove(pooled)
            if not await self._look(pooled):
                continue
            if not self._board.why_not(pooled, intent):
                return pooled
            held.append(pooled)
        return None

    async def _look(self, pooled: Pooled[C]) -> bool:
        """Ask a server once more; False: it does not answer, and the connection is gone."""
        pool, node = pooled.pool, self._returns.node_of(pooled)
        timer = self._runtime.call_later(ASK_TIMEOUT_S, partial(pool.sever, pooled))
        try:
            pooled.seen = await observe(pool.connector, pooled.raw, self._runtime)
        except Exception:
            pool.discard(pooled)
            self._knowledge.ask(node.name)
            return False
        except BaseException:
            self._returns.abandon(pooled)
            raise
        finally:
            timer.cancel()
        self._board.learn(node, pooled.seen)
        return True

    async def _open(
        self, node: Node[C], intent: ReadIntent, held: list[Pooled[C]], deadline_s: float, connect_s: float
    ) -> Pooled[C]:
        """A new connection may lead to another server. Where there is no room for it, another gives way."""
        if self._clock() < node.behind.not_before_s:
            raise Unfit(self._reason(held, intent))
        until_s = min(deadline_s, self._clock() + connect_s)
        if held and node.reads.size >= node.reads.limits.max_size:
            node.reads.discard(held.pop())
        if pooled := await node.reads.open_one(until_s):
            held.append(pooled)
            if not self._board.why_not(pooled, intent):
                return held.pop()
            node.behind.not_before_s = self._clock() + OPEN_AGAIN_S
        raise Unfit(self._reason(held, intent))

    def _reason(self, held: list[Pooled[C]], intent: ReadIntent) -> Reason:
        reasons = [reason for pooled in held if (reason := self._board.why_not(pooled, intent))]
        return reasons[-1] if reasons else Reason.STALENESS_UNKNOWN


def _replayed(pooled: Pooled[C]) -> float:
    seen = pooled.seen
    return -inf if seen is None or seen.replay_lsn is None else seen.replay_lsn
