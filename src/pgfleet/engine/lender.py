"""Lends one connection and takes it back: by the board's plan, and with word to the board of what was met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Generic, Literal, TypeVar

from pgfleet.board import Board, Node, RoutingTable
from pgfleet.core.failure import CONSEQUENCES, Consequence, Phase, Verdict, classify
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.node import UNPROVEN, Reason, Role
from pgfleet.core.plan import Plan, lag_s
from pgfleet.core.succession import is_hopeless
from pgfleet.errors import LeaseTimeout, Overloaded, PgfleetError, PrimaryUnavailable, RouterClosed
from pgfleet.fallback import AnyPool, Place
from pgfleet.faults import first_line, network_fault
from pgfleet.pool import Pool, PoolClosed, Pooled, PoolTimeout
from pgfleet.ports import Runtime, Watcher

C = TypeVar("C")
Lease = Literal["read", "write"]

CANDIDATE_SLICE_S = 2.0
"""The longest that one of several candidates may take to connect before the next is tried."""
REFRESH_TIMEOUT_S = 0.5
"""The longest that a read waits for fresher knowledge before it goes to the primary."""
LOOK_S = 0.05
"""The longest that the answers of some replicas wait for that of another, which may be silent."""
FIRST_PAUSE_S = 0.005
"""Between the first two looks at a replica that is about to catch up; then twice as long each time."""
BUSY_PAUSE_S = 0.05
"""Between two rounds of asking servers that have no connection left."""

READ_ONLY_NOTE = "pgfleet: read() and fetch() lend connections that take no writes; use write() or execute()"


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


class Lender(Generic[C]):
    """Lends connections, one at a time."""

    def __init__(self, board: Board[C], watcher: Watcher, runtime: Runtime) -> None:
        self.board = board
        self._watcher = watcher
        self._runtime = runtime
        self._clock = runtime.clock
        self._open = False

    # a connection to read with

    def take(self, intent: ReadIntent) -> Pooled[C] | None:
        """The short way: the next node of the routing table has an idle connection, or has lent all and another has."""
        table = self.board.table
        now_s = self._clock()
        if now_s >= table.refresh_at_s or (intent is not PLAIN and not table.satisfies(intent)):
            return None
        pool = table.next_pool()
        pooled: Pooled[C] | None = pool.take()
        if pooled is None:
            return self._take_from_others(table, pool, now_s)
        pooled.pool.leases += 1
        pooled.lent_s = now_s
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
        Raises LeaseTimeout, Overloaded, PrimaryUnavailable, RouterClosed.
        """
        first, self.board.missed = self.board.missed, None
        place = Place(self.board.fallback, deadline_s)
        while True:
            plan = await self._plan(intent)
            round_ = _Round()
            for node in self.board.in_turn(plan, avoid, first):
                if self.board.fallback.falls(node.name, plan, intent):
                    pooled = await self._fall_back(node, intent, deadline_s, round_, place)
                else:
                    pooled = await self._try(node, intent, deadline_s, round_)
                if pooled:
                    return pooled
            if not round_.busy or self._clock() >= deadline_s:
                if self._may_do_without(intent) or not await self.await_writer(deadline_s):
                    raise self._nobody(round_, plan)
                continue
            await self._runtime.signal().wait(min(BUSY_PAUSE_S, round_.pause_s))

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
            raise self._overloaded()
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
        return await self._try(node, intent, deadline_s, _Round())

    async def _try(
        self, node: Node[C], intent: ReadIntent, deadline_s: float, round_: _Round
    ) -> Pooled[C] | None:
        """A connection of this node, or None and why not noted in the round."""
        try:
            return await self._lend(node, intent, deadline_s)
        except PoolTimeout:
            round_.busy = True
        except PoolClosed:
            self._check_open()
            round_.busy = True  # the node was removed meanwhile: another round finds who is left
        except Exception as error:
            if isinstance(error, TimeoutError) and self._clock() >= deadline_s:
                # The caller's patience was short. Whether the node is slow, a probe will tell.
                round_.busy = True
                self._watcher.ask(node.name)
            elif not isinstance(error, _Disqualified):
                round_.last_error = error
                round_.busy |= self.met(node, error, Phase.CONNECT, "read") is Verdict.BUSY
        return None

    async def _lend(self, node: Node[C], intent: ReadIntent, deadline_s: float) -> Pooled[C]:
        """A connection of this node, if it still qualifies when we have it: a new one may have taught us better.

        Connecting may take a slice of the time, since there are others to try; waiting in line may take all of it.
        """
        pool = node.reads
        pooled = await pool.acquire(deadline_s, CANDIDATE_SLICE_S)
        plan = self.board.plan(intent)
        if node.name not in plan.replicas and node.name != plan.primary:
            pool.give(pooled)
            raise _Disqualified(node.name)
        if node.name == plan.primary and intent.prefer_replica:
            self.board.tell_fallback(plan)
        pool.leases += 1
        return pooled

    async def _plan(self, intent: ReadIntent) -> Plan:
        """The plan of this read. When nobody qualifies but for want of fresher knowledge, that is asked for first."""
        self._check_open()
        plan = self.board.plan(intent)
        if self._clock() >= plan.refresh_at_s:
            self._ask_all(plan.replicas)
        if not intent.prefer_replica or plan.replicas or not self._would_help(plan, intent):
            return plan
        return await self._fresh_plan(intent, plan)

    def _would_help(self, plan: Plan, intent: ReadIntent) -> bool:
        return intent.not_before_s is None and any(reason in UNPROVEN for _, reason in plan.left_out)

    async def _fresh_plan(self, intent: ReadIntent, plan: Plan) -> Plan:
        """Sample the primary once, then the replicas until one of them covers that sample, for a short while."""
        deadline_s = self._clock() + REFRESH_TIMEOUT_S
        pause_s = FIRST_PAUSE_S
        if plan.primary:
            await self._watcher.refresh((plan.primary,), REFRESH_TIMEOUT_S)
        replicas = tuple(name for name, reason in plan.left_out if reason in UNPROVEN)
        while not plan.replicas and replicas and (left_s := deadline_s - self._clock()) > 0:
            await self._watcher.refresh(replicas, min(left_s, LOOK_S))
            plan = self.board.plan(intent)
            if plan.replicas or not self._would_help(plan, intent) or not self._may_catch_up(plan):
                break
            await self._runtime.signal().wait(pause_s)
            pause_s *= 2
        return plan

    def _may_catch_up(self, plan: Plan) -> bool:
        """Whether some replica is only stale, and so little that it may qualify while a read waits."""
        topology = self.board.topology
        behind = {name for name, reason in plan.left_out if reason in _BEHIND}
        lags = [lag_s(topology, node) for node in topology.nodes if node.name in behind]
        return any(lag is None or lag < REFRESH_TIMEOUT_S for lag in lags)

    def _ask_all(self, names: Sequence[str]) -> None:
        for name in names:
            self._watcher.ask(name)

    # while there is no primary

    def _may_do_without(self, intent: ReadIntent) -> bool:
        """Whether waiting for a primary is not what this read wants, or would not help."""
        return intent.prefer_replica or self.board.topology.primary_name is not None

    async def await_writer(self, deadline_s: float) -> bool:
        """Wait for a primary that takes writes, with all nodes asked in a hurry; False when none came in time."""
        if is_hopeless(self.board.topology):
            await self._watcher.refresh(tuple(self.board.nodes), REFRESH_TIMEOUT_S)
            if is_hopeless(self.board.topology):
                return False
        self._search()
        came = self.board.await_writer()
        try:
            return await came.wait(max(0.0, deadline_s - self._clock()))
        finally:
            self.board.stop_waiting(came)

    def _search(self) -> None:
        """A write has failed: have all nodes asked, and in a hurry until one of them is the primary."""
        goes_on = self.board.vacancy.is_searched(self.board.topology)
        self.board.failed_write()
        if not goes_on:
            self._ask_all(tuple(self.board.nodes))

    # giving back

    async def done(self, pooled: Pooled[C], clean: bool) -> None:
        """Take a connection back after a statement that succeeded; `clean`: one that left the session alone."""
        pooled.replayable = False
        if clean:
            pooled.pool.give(pooled)
        else:
            await self.give_back(pooled)

    async def give_back(
        self, pooled: Pooled[C], error: BaseException | None = None, lease: Lease = "read"
    ) -> Consequence:
        """Take a connection back; what follows from `error`, if the caller's block ended with one.

        The connection is cleaned before anybody else gets it.
        """
        if error is not None and not isinstance(error, Exception):
            self.abandon(pooled)
            return _DROP
        consequence = _KEEP if error is None else self._judge(pooled, error, lease)
        if consequence.drop_connection:
            pooled.pool.discard(pooled)
            return consequence
        failed = await pooled.pool.reset_and_give(pooled)
        if failed is not None:
            self.met(self.node_of(pooled), failed, Phase.RESET, lease)
        return consequence

    def abandon(self, pooled: Pooled[C]) -> None:
        """Drop a connection in mid-statement, and have the server told to stop while nobody waits for that.

        What is still on the wire would meet the next borrower.
        """
        self._runtime.spawn(pooled.pool.connector.abandon(pooled.raw), "abandon")
        pooled.pool.discard(pooled)

    def _judge(self, pooled: Pooled[C], error: Exception, lease: Lease) -> Consequence:
        """What follows from an error under a lease. What is no driver's error is the caller's own."""
        connector = pooled.pool.connector
        verdict = self.met(
            self.node_of(pooled), error, Phase.STATEMENT, lease, ours=pooled.timed_out or pooled.fenced
        )
        if verdict is None:
            return _KEEP
        if verdict is Verdict.READ_ONLY:
            error.add_note(READ_ONLY_NOTE)
        fault = connector.fault(error)
        return (
            replace(CONSEQUENCES[verdict], drop_connection=True)
            if fault and fault.lost
            else CONSEQUENCES[verdict]
        )

    def met(
        self, node: Node[C], error: Exception, phase: Phase, lease: Lease, ours: bool = False
    ) -> Verdict | None:
        """Tell the board what this error says about its node. None: nothing, it is no driver's."""
        fault = node.prober.fault(error) or (None if phase is Phase.STATEMENT else network_fault(error))
        if fault is None:
            return None
        belongs = self.board.has(node)
        seen = self.board.state(node).observation
        in_recovery = not belongs or (seen is not None and seen.role is Role.REPLICA)
        verdict = classify(replace(fault, ours=ours), phase, lease=lease, in_recovery=in_recovery)
        if belongs:  # what was met on a node that is gone says nothing of its successor
            self._act(node.name, verdict, lease, first_line(error))
        return verdict

    def _act(self, name: str, verdict: Verdict, lease: Lease, detail: str) -> None:
        consequence = CONSEQUENCES[verdict]
        if consequence.suspect or (consequence.strike and self.board.shut_down(name) > 1):
            reason = Reason.MISCONFIGURED if verdict is Verdict.CONFIG else Reason.UNREACHABLE
            self.board.fail(name, reason, detail)
        if consequence.probe:
            self._watcher.ask(name)
        if consequence.probe and lease == "write":
            self._search()

    def look_at(self, pooled: Pooled[C]) -> None:
        """Ask for a probe of the node of this connection."""
        self._watcher.ask(self.node_of(pooled).name)

    def node_of(self, pooled: Pooled[C]) -> Node[C]:
        """Whose connection this is."""
        return self.node_with(pooled.pool)

    def node_with(self, pool: Pool[C]) -> Node[C]:
        """Whose pool this is."""
        node: Node[C] = pool.owner
        return node

    # when it cannot be done

    def lease_deadline_s(self, timeout_s: float | None = None, deadline_s: float | None = None) -> float:
        """When to stop waiting for a connection: by the settings, and by the caller's own wish if it is shorter."""
        limit_s = self._clock() + self.board.settings.connection_timeout_s
        if deadline_s is None and timeout_s is not None:
            deadline_s = self._clock() + timeout_s
        return limit_s if deadline_s is None else min(limit_s, deadline_s)

    def _check_open(self) -> None:
        if not self._open:
            raise RouterClosed

    def _nobody(self, round_: _Round, plan: Plan) -> PgfleetError:
        if round_.busy and round_.capped:
            return LeaseTimeout(
                f"no replica serves this read, and its turn on the primary, which takes at most "
                f"{self.board.fallback.caps()}, did not come in time (PGFLEET_OVERLOAD={self.board.fallback.policy})",
                _WITHOUT_REPLICAS,
            )
        if round_.busy:
            return self._no_connection()
        error = self._no_primary(first_line(round_.last_error) if round_.last_error else "", plan)
        error.__cause__ = round_.last_error
        return error

    def _no_connection(self) -> LeaseTimeout:
        return LeaseTimeout(
            f"no connection became free in time (at most {self.board.settings.connection_timeout_s:g} s)",
            "All pools are in use: raise DB_MAX_CONNECTIONS or READ_REPLICA_<n>_MAX_CONNECTIONS, "
            "or hold leases for a shorter time.",
        )

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"no replica serves this read, and the primary takes at most {self.board.fallback.caps()} "
            f"(PGFLEET_OVERLOAD=shed)",
            _WITHOUT_REPLICAS,
        )

    def _no_primary(self, detail: str, plan: Plan | None = None) -> PrimaryUnavailable:
        """`plan`: the one of a read, for which no replica would do either."""
        said = "; ".join(self._troubles(plan)) or detail or "no node is a primary"
        return PrimaryUnavailable(
            f"no primary takes connections: {said}",
            "Check DATABASE_URL and that its server runs; `pgfleet explain` shows what is known of every node.",
        )

    def _troubles(self, plan: Plan | None) -> list[str]:
        nodes = self.board.topology.nodes
        troubles = {n.name: f"{n.trouble.reason} ({n.trouble.detail})" for n in nodes if n.trouble}
        told = dict(plan.left_out if plan else ()) | troubles
        return [f"{name} {why}" for name, why in told.items()]


_HOWEVER_STALE = ReadIntent(max_lag_s=inf)
_WITHOUT_REPLICAS = (
    "Bring the replicas back (`pgfleet explain` says what ails them), or raise what the primary takes."
)
_BEHIND = (Reason.STALE, Reason.STALENESS_UNKNOWN)
_KEEP = Consequence()
_DROP = Consequence(drop_connection=True)
