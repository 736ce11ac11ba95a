"""Lends one connection to read with, by the board's plan: of a replica that qualifies, else of the primary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf
from typing import Generic, TypeVar

from pgfleet.board import Board, Node, RoutingTable
from pgfleet.board.fallback import AnyPool, Place
from pgfleet.core.failure import Phase, Verdict
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.node import Reason
from pgfleet.core.plan import Plan
from pgfleet.core.schedule import SEARCH_LASTS_S
from pgfleet.core.topology import Topology
from pgfleet.engine.endpoints import Endpoints, Unfit
from pgfleet.engine.knowledge import Knowledge
from pgfleet.engine.refusals import no_connection, no_turn, nobody_to_read_from, overloaded
from pgfleet.engine.returns import Returns
from pgfleet.engine.seats import Seats
from pgfleet.engine.terms import Terms
from pgfleet.engine.unqualified import Unqualified
from pgfleet.engine.wishes import Wishes
from pgfleet.errors import PgfleetError
from pgfleet.pool import PoolClosed, Pooled, PoolTimeout
from pgfleet.ports import Runtime

C = TypeVar("C")

CANDIDATE_SLICE_S = 2.0
"""The longest that one of several candidates may take to connect before the next is tried."""
BUSY_PAUSE_S = 0.05
"""Between two rounds of asking servers that have no connection left."""
HEIR_WAIT_S = 2.0
"""How long a read that any replica could answer waits for a primary that was promoted and not seen yet."""

_HOWEVER_STALE = ReadIntent(max_lag_s=inf)


class _Disqualified(Exception):
    """The node ceased to qualify while we connected to it."""


@dataclass(slots=True)
class _Round:
    """What one round of the candidates came to."""

    busy: bool = False
    """Some node would have served us, had it had a connection left."""
    capped: bool = False
    """The primary was asked in place of a replica."""
    pause_s: float = inf
    """How long to wait before the next round, if not the usual time."""
    last_error: Exception | None = None
    unfit: dict[str, Reason] = field(default_factory=dict)
    """The shared endpoints none of whose connections would do, and why the last would not."""
    waited: bool = False
    """It ended with a wait for a replica: plan again."""


class Lender(Generic[C]):
    """Lends connections, one at a time."""

    def __init__(
        self,
        board: Board[C],
        wishes: Wishes,
        knowledge: Knowledge,
        returns: Returns[C],
        terms: Terms,
        runtime: Runtime,
    ) -> None:
        self.board = board
        self._wishes = wishes
        self._knowledge = knowledge
        self._returns = returns
        self.seats = Seats(board, returns)
        self._endpoints = Endpoints(board, knowledge, returns, runtime)
        self._unqualified = Unqualified(board, runtime)
        self._terms = terms
        self._runtime = runtime
        self._clock = runtime.clock
        self._heir = (0, 0.0)
        """The timeline of the last primary that reads waited for without having seen it, and since when."""

    def take(self, intent: ReadIntent) -> Pooled[C] | None:
        """The short way: the next node of the routing table has an idle connection, or has lent all and another has."""
        table = self.board.table
        now_s = self._clock()
        if now_s >= table.refresh_at_s:
            return None
        if intent is not PLAIN and not table.satisfies(intent):
            return self.seats.take(table, intent, now_s) if intent.seat else None
        pool = table.next_pool()
        pooled: Pooled[C] | None = pool.take()
        if pooled is None:
            pooled = self._take_from_others(table, pool, now_s)
        else:
            pooled.pool.leases += 1
            pooled.lent_s = now_s
        if pooled and intent is not PLAIN:
            if table.plan.checked and self._endpoints.refuses(table.plan, pooled, intent):
                pooled.pool.leases -= 1
                pooled.pool.give(pooled)
                return None
            self.seats.note(pooled, intent)
        return pooled

    def _take_from_others(self, table: RoutingTable, missed: AnyPool, now_s: float) -> Pooled[C] | None:
        """What one of the next nodes has idle, unless that of the turn may open a connection: then that is to grow."""
        if missed.has_room():
            self.board.missed = missed
            return None
        for _ in table.names[1:]:
            pooled: Pooled[C] | None = table.next_pool().take()
            if pooled:
                pooled.pool.leases += 1
                pooled.lent_s = now_s
                return pooled
        return None

    async def borrow(
        self, intent: ReadIntent, deadline_s: float, avoid: frozenset[str] = frozenset()
    ) -> Pooled[C]:
        """The long way to a connection for reads: of a replica that qualifies, else of the primary.

        Begins with the node whose turn the short way found without an idle connection.
        Raises LeaseTimeout, Overloaded, PrimaryUnavailable, NoReplica, RouterClosed; WritesLost, when another server
        was promoted meanwhile.
        """
        first, self.board.missed = self.board.missed, None
        place = Place(self.board.fallback, deadline_s)
        lineage = self.board.topology.lineage
        while True:
            self._terms.check_open()
            if lineage is not self.board.topology.lineage:
                lineage, intent = self.board.topology.lineage, self._wishes.renewed(intent)
            plan = await self._knowledge.plan(intent, deadline_s)
            if await self._unqualified.waits(plan, intent, deadline_s):
                continue
            round_ = _Round()
            candidates = self.board.in_turn(plan, avoid, first)
            pooled = await self._go_round(candidates, plan, intent, deadline_s, round_, place)
            if pooled and lineage is not self.board.topology.lineage:
                pooled.pool.give(pooled)  # what it must see may be lost by now
                continue
            if pooled:
                self.seats.note(pooled, intent)
                return pooled
            if round_.waited:
                continue
            if not round_.busy or self._clock() >= deadline_s:
                if not await self._primary_comes(intent, deadline_s):
                    raise self._nobody(round_, intent, avoid)
                continue
            pause_s = min(BUSY_PAUSE_S, round_.pause_s, deadline_s - self._clock())
            await self._runtime.signal().wait(max(0.0, pause_s))

    async def _go_round(
        self,
        candidates: Iterator[Node[C]],
        plan: Plan,
        intent: ReadIntent,
        deadline_s: float,
        round_: _Round,
        place: Place,
    ) -> Pooled[C] | None:
        """A connection of the first of the candidates that has one, or None and why not noted in the round."""
        for node in candidates:
            if not self.board.fallback.falls(node.name, plan, intent):
                pooled = await self._try(node, intent, deadline_s, round_)
            elif await self._waits_for_fit(round_, plan, intent, deadline_s):
                return None
            else:
                pooled = await self._fall_back(node, intent, deadline_s, round_, place)
            if pooled:
                return pooled
        if not plan.primary:
            await self._waits_for_fit(round_, plan, intent, deadline_s)
        return None

    async def _waits_for_fit(self, round_: _Round, plan: Plan, intent: ReadIntent, deadline_s: float) -> bool:
        """Whether the round has ended with a wait for a replica: nobody else is wanted."""
        round_.waited = await self._unqualified.waits_for_fit(plan, round_.unfit, intent, deadline_s)
        return round_.waited

    async def _fall_back(
        self, primary: Node[C], intent: ReadIntent, deadline_s: float, round_: _Round, place: Place
    ) -> Pooled[C] | None:
        """A connection of the primary within the caps of such reads; beyond them, what the policy says."""
        policy = self.board.fallback.policy
        waits = policy == "wait" or (policy == "stale" and intent is not PLAIN)
        round_.capped = True
        if place.has_come(self._clock()) and (waits or primary.reads.has_room()):
            return await self._try(primary, intent, deadline_s, round_)
        if policy == "shed":
            raise overloaded(self.board)
        if not waits and (pooled := await self._stale(deadline_s, round_)):
            return pooled
        round_.busy = True
        round_.pause_s = place.wait_s(self._clock()) or BUSY_PAUSE_S
        return None

    async def _stale(self, deadline_s: float, round_: _Round) -> Pooled[C] | None:
        """A connection of a replica of this cluster and timeline, however stale it is."""
        plan = self.board.plan(_HOWEVER_STALE)
        for node in self.board.in_turn(replace(plan, primary=None), frozenset(), None):
            if pooled := await self._try(node, _HOWEVER_STALE, deadline_s, round_):
                return pooled
        return None

    async def lend_from(self, node: Node[C], intent: ReadIntent, deadline_s: float) -> Pooled[C] | None:
        """A connection of this very node, if it has one in time and still qualifies. Tells the board what it met."""
        pooled = await self._try(node, intent, deadline_s, _Round())
        if pooled:
            self.seats.note(pooled, intent, at_once=False)
        return pooled

    async def _try(
        self, node: Node[C], intent: ReadIntent, deadline_s: float, round_: _Round
    ) -> Pooled[C] | None:
        """A connection of this node, or None and why not noted in the round."""
        if self.board.state(node).trouble:
            round_.busy = True  # while we waited for another: a new round finds who is left
            return None
        try:
            return await self._lend(node, intent, deadline_s)
        except PoolTimeout:
            round_.busy = True
        except PoolClosed:
            self._terms.check_open()
            round_.busy = True  # the node was removed meanwhile: another round finds who is left
        except Exception as error:
            if isinstance(error, TimeoutError) and self._clock() >= deadline_s:
                # The caller's patience was short. Whether the node is slow, a probe will tell.
                round_.busy = True
                self._knowledge.ask(node.name)
            elif isinstance(error, Unfit):
                round_.unfit[node.name] = error.reason
            elif not isinstance(error, _Disqualified):
                round_.last_error = error
                round_.busy |= self._returns.met(node, error, Phase.CONNECT, "read") is Verdict.BUSY
        return None

    async def _lend(self, node: Node[C], intent: ReadIntent, deadline_s: float) -> Pooled[C]:
        """A connection of this node, if it still qualifies when we have it: a new one may have taught us better.

        Connecting may take a slice of the time, since there are others to try; waiting in line may take all of it.
        """
        pool = node.reads
        pooled = await self._endpoints.lend(node, intent, deadline_s, CANDIDATE_SLICE_S)
        plan = self.board.plan(intent)
        if node.name not in plan.replicas and node.name != plan.primary:
            pool.give(pooled)
            raise _Disqualified(node.name)
        if node.name == plan.primary and intent.prefer_replica:
            self.board.tell_fallback(plan)
        pool.leases += 1
        return pooled

    async def _primary_comes(self, intent: ReadIntent, deadline_s: float) -> bool:
        """Whether one came, for a read that waits: one of the primary, or of replicas that nobody can vouch for yet."""
        topology = self.board.topology
        if topology.primary_name is not None or (intent.prefer_replica and not self._expects_heir(topology)):
            return False
        if intent.prefer_replica:
            deadline_s = min(deadline_s, self._clock() + HEIR_WAIT_S)
        return await self._knowledge.await_writer(deadline_s)

    def _expects_heir(self, topology: Topology) -> bool:
        """Whether to wait for the primary of a promotion that a standby told of: it may be none of our nodes."""
        if not topology.awaits_heir:
            return False
        timeline, since_s = self._heir
        if timeline != topology.highest_timeline:
            since_s = self._clock()
            self._heir = (topology.highest_timeline, since_s)
        return self._clock() - since_s < SEARCH_LASTS_S

    def _nobody(self, round_: _Round, intent: ReadIntent, tried: frozenset[str]) -> PgfleetError:
        """By a plan of now: a replica may have grown too stale while a connection of it was had."""
        if round_.busy:
            return no_turn(self.board) if round_.capped else no_connection(self.board)
        plan = self.board.plan(intent).without(round_.unfit)
        return nobody_to_read_from(self.board, plan, round_.last_error, tried)
