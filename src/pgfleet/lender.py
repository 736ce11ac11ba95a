"""Lends one connection and takes it back: by the board's plan, and with word to the board of what was met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from pgfleet.board import Board, Node, RoutingTable
from pgfleet.core.failure import CONSEQUENCES, Consequence, Phase, Verdict, classify
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.node import UNPROVEN, Reason, Role
from pgfleet.core.plan import Plan, lag_s
from pgfleet.errors import LeaseTimeout, PgfleetError, PrimaryUnavailable, RouterClosed
from pgfleet.faults import NotPrimary, first_line, network_fault
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
        if self._clock() >= table.refresh_at_s or (intent is not PLAIN and not table.satisfies(intent)):
            return None
        pool: Pool[C] = table.next_pool()
        pooled = pool.take()
        if pooled is None:
            return self._take_from_others(table, pool)
        pool.leases += 1
        return pooled

    def _take_from_others(self, table: RoutingTable, missed: Pool[C]) -> Pooled[C] | None:
        """What one of the next nodes has idle, unless that of the turn may open a connection: then that is to grow."""
        if missed.has_room():
            self.board.missed = missed
            return None
        for _ in table.names[1:]:
            pool: Pool[C] = table.next_pool()
            if pooled := pool.take():
                pool.leases += 1
                return pooled
        return None

    async def borrow(
        self, intent: ReadIntent, deadline_s: float, avoid: frozenset[str] = frozenset()
    ) -> Pooled[C]:
        """The long way to a connection for reads: of a replica that qualifies, else of the primary.

        Begins with the node whose turn the short way found without an idle connection.
        Raises LeaseTimeout, PrimaryUnavailable, RouterClosed.
        """
        first, self.board.missed = self.board.missed, None
        while True:
            plan = await self._plan(intent)
            round_ = _Round()
            for node in self.board.in_turn(plan, avoid, first):
                if pooled := await self._try(node, intent, deadline_s, round_):
                    return pooled
            if not round_.busy or self._clock() >= deadline_s:
                raise self._nobody(round_, plan)
            await self._runtime.signal().wait(BUSY_PAUSE_S)

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

    # a connection to write with

    async def borrow_primary(self, deadline_s: float) -> Pooled[C]:
        """A connection of the primary that takes writes. Raises LeaseTimeout, PrimaryUnavailable, RouterClosed."""
        node = await self._primary()
        try:
            pooled = await node.writes.acquire(deadline_s)
        except PoolTimeout:
            is_primary = self.board.topology.primary_name == node.name
            raise self._nobody(_Round(busy=is_primary), self.board.plan(PLAIN)) from None
        except NotPrimary as error:
            raise self._no_primary(str(error)) from None
        except PoolClosed:
            raise RouterClosed from None
        except Exception as error:
            verdict = self.met(node, error, Phase.CONNECT, "write")
            if verdict is None:
                raise
            raise self._no_primary(first_line(error)) from error
        node.writes.leases += 1
        return pooled

    async def _primary(self) -> Node[C]:
        """The node that takes writes; when none is known, all are asked once."""
        self._check_open()
        if self.board.topology.primary_name is None:
            await self._watcher.refresh(tuple(self.board.nodes), REFRESH_TIMEOUT_S)
        name = self.board.topology.primary_name
        if name is None:
            raise self._no_primary("")
        return self.board.nodes[name]

    # giving back

    async def give_back(
        self, pooled: Pooled[C], error: BaseException | None = None, lease: Lease = "read"
    ) -> Consequence:
        """Take a connection back; what follows from `error`, if the caller's block ended with one.

        The connection is cleaned before anybody else gets it.
        """
        consequence = _KEEP if error is None else self._judge(pooled, error, lease)
        if consequence.drop_connection:
            pooled.pool.discard(pooled)
            return consequence
        failed = await pooled.pool.reset_and_give(pooled)
        if failed is not None:
            self.met(self.node_of(pooled), failed, Phase.RESET, lease)
        return consequence

    def _judge(self, pooled: Pooled[C], error: BaseException, lease: Lease) -> Consequence:
        """What follows from an error under a lease. What is no driver's error is the caller's own."""
        connector = pooled.pool.connector
        if not isinstance(error, Exception):
            return _DROP  # cancelled in mid-statement: what is still on the wire would meet the next borrower
        verdict = self.met(self.node_of(pooled), error, Phase.STATEMENT, lease, ours=pooled.timed_out)
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
            self._act(node.name, verdict, first_line(error))
        return verdict

    def _act(self, name: str, verdict: Verdict, detail: str) -> None:
        consequence = CONSEQUENCES[verdict]
        if consequence.suspect or (consequence.strike and self.board.shut_down(name) > 1):
            reason = Reason.MISCONFIGURED if verdict is Verdict.CONFIG else Reason.UNREACHABLE
            self.board.fail(name, reason, detail)
        if consequence.probe:
            self._watcher.ask(name)

    def node_of(self, pooled: Pooled[C]) -> Node[C]:
        """Whose connection this is."""
        node: Node[C] = pooled.pool.owner
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
        if round_.busy:
            return LeaseTimeout(
                f"no connection became free in time (at most {self.board.settings.connection_timeout_s:g} s)",
                "All pools are in use: raise DB_MAX_CONNECTIONS or READ_REPLICA_<n>_MAX_CONNECTIONS, "
                "or hold leases for a shorter time.",
            )
        error = self._no_primary(first_line(round_.last_error) if round_.last_error else "", plan)
        error.__cause__ = round_.last_error
        return error

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


_BEHIND = (Reason.STALE, Reason.STALENESS_UNKNOWN)
_KEEP = Consequence()
_DROP = Consequence(drop_connection=True)
