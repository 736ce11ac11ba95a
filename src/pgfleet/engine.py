"""How a connection is lent, used, given back and tried elsewhere: each procedure once, for tasks and for threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from pgfleet.board import Board, Node
from pgfleet.core.failure import CONSEQUENCES, Consequence, Phase, Verdict, classify
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.node import UNPROVEN, Reason, Role
from pgfleet.core.plan import Plan
from pgfleet.core.statement import leaves_session_alone
from pgfleet.errors import LeaseTimeout, PrimaryUnavailable, ReadTimeout, RouterClosed
from pgfleet.monitor import Monitor, explain_error, network_fault
from pgfleet.pool import PoolClosed, Pooled, PoolTimeout
from pgfleet.ports import Runtime, Timer

C = TypeVar("C")
T = TypeVar("T")
Lease = Literal["read", "write"]

CANDIDATE_SLICE_S = 2.0
"""The longest that one of several candidates may take to connect before the next is tried."""
REFRESH_TIMEOUT_S = 0.5
"""The longest that a read waits for fresher knowledge before it goes to the primary."""
START_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 2.0

READ_ONLY_NOTE = "pgfleet: read() and fetch() lend connections that take no writes; use write() or execute()"


@dataclass(slots=True)
class Transaction(Generic[C]):
    """A lease with a transaction of ours around it."""

    pooled: Pooled[C]
    handle: Any
    """What the connector needs to end the transaction; None: the driver's autocommit."""
    mark: int | None = None
    """The slot of the org that writes."""


class Engine(Generic[C]):
    """Lends connections by the board's plan, and tells the board what it meets."""

    def __init__(self, board: Board[C], monitor: Monitor[C], runtime: Runtime) -> None:
        self.board = board
        self._monitor = monitor
        self._runtime = runtime
        self._clock = runtime.clock
        self._names = {pool: node.name for node in board.nodes.values() for pool in node.pools}
        self._open = False

    # life

    async def start(self) -> None:
        """Begin to watch the nodes. Returns when each was looked at, or after two seconds."""
        self._open = True
        await self._monitor.start(START_TIMEOUT_S)

    async def stop(self) -> None:
        """End the watches and the idle connections. Leases that are out end when they come back."""
        self._open = False
        self._monitor.stop()
        for node in self.board.nodes.values():
            for pool in node.pools:
                await pool.close()
        await self._runtime.close(STOP_TIMEOUT_S)

    # a connection to read with

    def take(self, intent: ReadIntent) -> Pooled[C] | None:
        """The short way: the next node of the routing table has an idle connection."""
        table = self.board.table
        if self._clock() >= table.refresh_at_s or (intent is not PLAIN and not table.satisfies(intent)):
            return None
        pool = table.next_pool()
        pooled: Pooled[C] | None = pool.take()
        if pooled is None:
            self.board.missed = pool
        else:
            pool.leases += 1
        return pooled

    async def borrow(self, intent: ReadIntent, timeout_s: float | None) -> Pooled[C]:
        """The long way to a connection for reads: of a replica that qualifies, else of the primary.

        Raises LeaseTimeout, PrimaryUnavailable, RouterClosed.
        """
        return await self._borrow(intent, self._lease_deadline_s(timeout_s), frozenset())

    async def _borrow(self, intent: ReadIntent, deadline_s: float, avoid: frozenset[str]) -> Pooled[C]:
        # It begins with the node whose turn the short way found without an idle connection.
        first, self.board.missed = self.board.missed, None
        plan = await self._plan(intent)
        last_error: Exception | None = None
        while True:
            busy = False
            for node in self.board.in_turn(plan, avoid, first):
                try:
                    return await self._lend(node, intent, deadline_s)
                except PoolTimeout:
                    busy = True
                except (PoolClosed, RouterClosed):
                    raise self._closed_error() from None
                except Exception as error:
                    last_error = error
                    busy |= self._met(node, error, Phase.CONNECT, "read") is Verdict.BUSY
            if not busy or self._clock() >= deadline_s:
                raise self._nobody(plan, busy, last_error)

    async def _lend(self, node: Node[C], intent: ReadIntent, deadline_s: float) -> Pooled[C]:
        """A connection of this node, if it still qualifies when we have it: a new one may have taught us better."""
        pool = node.reads
        slice_s = min(deadline_s, self._clock() + CANDIDATE_SLICE_S)
        pooled = await pool.acquire(slice_s)
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
        if plan.primary:
            await self._monitor.refresh((plan.primary,), REFRESH_TIMEOUT_S)
        replicas = tuple(name for name, reason in plan.left_out if name != plan.primary)
        while not plan.replicas and replicas and (left_s := deadline_s - self._clock()) > 0:
            await self._monitor.refresh(replicas, left_s)
            plan = self.board.plan(intent)
            if not self._would_help(plan, intent):
                break
        return plan

    def _ask_all(self, names: Sequence[str]) -> None:
        for name in names:
            self._monitor.ask(name)

    # a connection to write with

    async def open_write(
        self, transaction: bool | None, timeout_s: float | None, org_id: Hashable
    ) -> Transaction[C]:
        """A connection of the primary; `transaction` None: as the driver does by itself.

        From now until it ends the org counts as writing. Raises LeaseTimeout, PrimaryUnavailable, RouterClosed.
        """
        mark = None if org_id is None else self.board.begin_write(org_id)
        try:
            pooled = await self._borrow_primary(self._lease_deadline_s(timeout_s))
            return await self._begin(pooled, transaction, mark)
        except BaseException:
            self._end_mark(mark)
            raise

    async def end_write(self, lease: Transaction[C], error: BaseException | None) -> None:
        """Commit, or roll back after an error; then take the connection back."""
        try:
            await self._end(lease, error, "write")
        finally:
            self._end_mark(lease.mark)

    async def open_read(self, intent: ReadIntent, timeout_s: float | None) -> Transaction[C]:
        """A read inside one REPEATABLE READ READ ONLY transaction."""
        pooled = self.take(intent) or await self.borrow(intent, timeout_s)
        return Transaction(
            pooled, await self._guarded(pooled, pooled.pool.connector.begin(pooled.raw, read_only=True))
        )

    async def end_read(self, lease: Transaction[C], error: BaseException | None) -> None:
        """End the read's transaction, and take the connection back."""
        await self._end(lease, error, "read")

    async def _begin(self, pooled: Pooled[C], transaction: bool | None, mark: int | None) -> Transaction[C]:
        connector = pooled.pool.connector
        if transaction is None:
            transaction = connector.transactional
        if not transaction:
            return Transaction(pooled, None, mark)
        return Transaction(
            pooled, await self._guarded(pooled, connector.begin(pooled.raw, read_only=False)), mark
        )

    async def _guarded(self, pooled: Pooled[C], step: Awaitable[T]) -> T:
        """A step of ours on a connection that is lent: it fails with the connection."""
        try:
            return await step
        except BaseException as error:
            await self.give_back(pooled, error)
            raise

    async def _end(self, lease: Transaction[C], error: BaseException | None, kind: Lease) -> None:
        connector = lease.pooled.pool.connector
        if lease.handle is not None:
            try:
                await (connector.commit(lease.handle) if error is None else connector.rollback(lease.handle))
            except BaseException as failed:
                await self.give_back(lease.pooled, failed, kind)
                if error is None or not isinstance(failed, Exception):
                    raise
                return
        await self.give_back(lease.pooled, error, kind)

    def _end_mark(self, mark: int | None) -> None:
        if mark is not None:
            self.board.end_write(mark)

    async def _borrow_primary(self, deadline_s: float) -> Pooled[C]:
        node = await self._primary()
        try:
            pooled = await node.writes.acquire(deadline_s)
        except PoolTimeout:
            raise self._nobody(self.board.plan(PLAIN), True, None) from None
        except PoolClosed:
            raise self._closed_error() from None
        except Exception as error:
            verdict = self._met(node, error, Phase.CONNECT, "write")
            if verdict is None:
                raise
            raise self._no_primary(explain_error(error)) from error
        node.writes.leases += 1
        return pooled

    async def _primary(self) -> Node[C]:
        """The node that takes writes; when none is known, all are asked once."""
        self._check_open()
        if self.board.topology.primary_name is None:
            await self._monitor.refresh(tuple(self.board.nodes), REFRESH_TIMEOUT_S)
        name = self.board.topology.primary_name
        if name is None:
            raise self._no_primary("")
        return self.board.nodes[name]

    # giving back

    async def give_back(
        self, pooled: Pooled[C], error: BaseException | None = None, lease: Lease = "read"
    ) -> None:
        """Take a connection back after the caller's block. It is cleaned before anybody else gets it."""
        if error is not None and self._judge(pooled, error, lease).drop_connection:
            pooled.pool.discard(pooled)
            return
        failed = await pooled.pool.reset_and_give(pooled)
        if failed is not None:
            self._met(self._node(pooled), failed, Phase.RESET, lease)

    def _judge(self, pooled: Pooled[C], error: BaseException, lease: Lease) -> Consequence:
        """What follows from an error under a lease. What is no driver's error is the caller's own."""
        connector = pooled.pool.connector
        if not isinstance(error, Exception):
            return _DROP  # cancelled in mid-statement: what is still on the wire would meet the next borrower
        verdict = self._met(self._node(pooled), error, Phase.STATEMENT, lease, ours=pooled.timed_out)
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

    def _met(
        self, node: Node[C], error: Exception, phase: Phase, lease: Lease, ours: bool = False
    ) -> Verdict | None:
        """Tell the board what this error says about its node. None: nothing, it is no driver's."""
        if isinstance(error, _Disqualified):
            return Verdict.CONFLICT
        fault = node.prober.fault(error) or (None if phase is Phase.STATEMENT else network_fault(error))
        if fault is None:
            return None
        seen = self.board.topology.node(node.name).observation
        in_recovery = seen is not None and seen.role is Role.REPLICA
        verdict = classify(replace(fault, ours=ours), phase, lease=lease, in_recovery=in_recovery)
        self._act(node.name, verdict, explain_error(error))
        return verdict

    def _act(self, name: str, verdict: Verdict, detail: str) -> None:
        consequence = CONSEQUENCES[verdict]
        if consequence.suspect or (consequence.strike and self.board.shut_down(name) > 1):
            reason = Reason.MISCONFIGURED if verdict is Verdict.CONFIG else Reason.UNREACHABLE
            self.board.fail(name, reason, detail)
        if consequence.probe:
            self._monitor.ask(name)

    def _node(self, pooled: Pooled[C]) -> Node[C]:
        return self.board.nodes[self._names[pooled.pool]]

    # one statement, or one function, that can run again elsewhere

    async def fetch(
        self, sql: str, args: Sequence[Any], intent: ReadIntent, timeout_s: float | None
    ) -> list[Any]:
        """The rows of one read. It runs on another node when the one it was sent to fails."""
        pooled = self.take(intent) if timeout_s is None else None
        if pooled is None:
            return await self._attempts(
                partial(_fetch, sql, args), intent, timeout_s, leaves_session_alone(sql)
            )
        pooled.replayable = True
        pool = pooled.pool
        try:
            rows = await pool.connector.fetch(pooled.raw, sql, args)
        except BaseException as error:
            avoid = await self._after_failure(pooled, error)
        else:
            await self._done(pooled, leaves_session_alone(sql))
            return rows
        return await self._attempts(
            partial(_fetch, sql, args), intent, None, leaves_session_alone(sql), avoid
        )

    async def run_read(
        self, work: Callable[[C], Awaitable[T]], intent: ReadIntent, timeout_s: float | None
    ) -> T:
        """What `work(conn)` returns. It runs again on another node when the first fails under it."""

        async def run(pooled: Pooled[C]) -> T:
            return await work(pooled.raw)

        return await self._attempts(run, intent, timeout_s, False)

    async def execute(self, sql: str, args: Sequence[Any], timeout_s: float | None, org_id: Hashable) -> str:
        """One statement on the primary, never sent twice; the server's command tag."""
        lease = await self.open_write(None, timeout_s, org_id)
        try:
            tag = await lease.pooled.pool.connector.execute(lease.pooled.raw, sql, args)
        except BaseException as error:
            await self.end_write(lease, error)
            raise
        await self.end_write(lease, None)
        return tag

    async def _attempts(
        self,
        work: Callable[[Pooled[C]], Awaitable[T]],
        intent: ReadIntent,
        timeout_s: float | None,
        clean: bool,
        avoid: frozenset[str] = frozenset(),
    ) -> T:
        """Run `work` on one node after another until one does not fail. Each node is tried once."""
        deadline_s = None if timeout_s is None else self._clock() + timeout_s
        while True:
            pooled = await self._borrow(intent, self._lease_deadline_s(timeout_s, deadline_s), avoid)
            pooled.replayable = True
            timer = self._cut_at(pooled, deadline_s)
            try:
                result = await work(pooled)
            except BaseException as error:
                avoid |= await self._after_failure(pooled, error, timeout_s)
            else:
                await self._done(pooled, clean)
                return result
            finally:
                if timer:
                    timer.cancel()

    async def _after_failure(
        self, pooled: Pooled[C], error: BaseException, timeout_s: float | None = None
    ) -> frozenset[str]:
        """Take the connection back. Returns the node to avoid when the read may run elsewhere; else raises `error`."""
        pooled.replayable = False
        consequence = self._judge(pooled, error, "read")
        if consequence.drop_connection:
            pooled.pool.discard(pooled)
        else:
            await pooled.pool.reset_and_give(pooled)
        if pooled.timed_out:
            raise ReadTimeout(
                f"the read did not finish within {timeout_s} s on {self._names[pooled.pool]}",
                "Give it a longer timeout_s, or find out why it is slow there (pg_stat_activity).",
            ) from None
        if not consequence.retry_elsewhere:
            raise error
        return frozenset((self._names[pooled.pool],))

    async def _done(self, pooled: Pooled[C], clean: bool) -> None:
        if clean:
            pooled.replayable = False
            pooled.pool.give(pooled)
        else:
            await self.give_back(pooled)

    def _cut_at(self, pooled: Pooled[C], deadline_s: float | None) -> Timer | None:
        """Sever the connection when the caller's time is over: a cancel request could hang on a dead path."""
        if deadline_s is None:
            return None

        def cut() -> None:
            pooled.timed_out = True
            pooled.pool.sever(pooled)

        return self._runtime.call_later(max(0.0, deadline_s - self._clock()), cut)

    # for those who watch

    async def refresh(self, older_than_s: float) -> None:
        """Have every node whose last observation is older than this looked at now; wait at most half a second."""
        since_s = self._clock() - older_than_s
        nodes = self.board.topology.nodes
        old = [n.name for n in nodes if n.observation is None or n.observation.answered_s < since_s]
        if old:
            await self._monitor.refresh(tuple(old), REFRESH_TIMEOUT_S)

    async def fetch_from(self, name: str, sql: str) -> list[Any]:
        """The rows of a statement on this very node, for monitoring. Raises what the driver raises, and KeyError."""
        self._check_open()
        pool = self.board.nodes[name].reads
        pooled = await pool.acquire(self._clock() + CANDIDATE_SLICE_S)
        try:
            rows = await pool.connector.fetch(pooled.raw, sql, ())
        except BaseException as error:
            await self.give_back(pooled, error)
            raise
        await self.give_back(pooled)
        return rows

    # when it cannot be done

    def _lease_deadline_s(self, timeout_s: float | None = None, deadline_s: float | None = None) -> float:
        limit_s = self._clock() + self.board.settings.connection_timeout_s
        if deadline_s is None and timeout_s is not None:
            deadline_s = self._clock() + timeout_s
        return limit_s if deadline_s is None else min(limit_s, deadline_s)

    def _check_open(self) -> None:
        if not self._open:
            raise self._closed_error()

    def _closed_error(self) -> RouterClosed:
        return RouterClosed(
            "the router is not open", "Use it inside `with` or `async with`, or call open() first."
        )

    def _nobody(self, plan: Plan, busy: bool, cause: Exception | None) -> Exception:
        if busy:
            return LeaseTimeout(
                f"no connection became free within {self.board.settings.connection_timeout_s:g} s",
                "All pools are in use: raise DB_MAX_CONNECTIONS or READ_REPLICA_<n>_MAX_CONNECTIONS, "
                "or hold leases for a shorter time.",
            )
        error = self._no_primary(explain_error(cause) if cause else "")
        error.__cause__ = cause
        return error

    def _no_primary(self, detail: str) -> PrimaryUnavailable:
        said = "; ".join(self._troubles()) or detail or "no node is a primary"
        return PrimaryUnavailable(
            f"no primary takes connections: {said}",
            "Check DATABASE_URL and that its server runs; `pgfleet explain` shows what is known of every node.",
        )

    def _troubles(self) -> list[str]:
        nodes = self.board.topology.nodes
        return [f"{n.name} {n.trouble.reason} ({n.trouble.detail})" for n in nodes if n.trouble]


class _Disqualified(ConnectionError):
    """The node ceased to qualify while we connected to it."""


_KEEP = Consequence()
_DROP = Consequence(drop_connection=True)


async def _fetch(sql: str, args: Sequence[Any], pooled: Pooled[Any]) -> list[Any]:
    rows: list[Any] = await pooled.pool.connector.fetch(pooled.raw, sql, args)
    return rows
