"""The threaded face: the same router without `async` and `await`."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Coroutine, Hashable, Mapping
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack

from pgfleet.assembly import Connect
from pgfleet.core.intent import ReadIntent
from pgfleet.engine import Engine
from pgfleet.engine.terms import check_time
from pgfleet.engine.transactions import Transaction
from pgfleet.engine.wishes import ReadOptions
from pgfleet.face import Face
from pgfleet.pool import Pooled
from pgfleet.runtimes import ThreadRuntime, drive
from pgfleet.sessions import present
from pgfleet.settings import Settings

if TYPE_CHECKING:
    import psycopg

C = TypeVar("C")
T = TypeVar("T")


def _psycopg() -> Connect[Any]:
    from pgfleet.adapters.psycopg import PsycopgConnector

    return PsycopgConnector


class ReadLease(Generic[C]):
    """`with router.read() as conn`: one connection of one node for the block."""

    __slots__ = ("_engine", "_intent", "_pooled", "_timeout_s")

    def __init__(self, engine: Engine[C], intent: ReadIntent, timeout_s: float | None) -> None:
        self._engine = engine
        self._intent = intent
        self._timeout_s = timeout_s

    def __enter__(self) -> C:
        engine = self._engine
        self._pooled = engine.take(self._intent) or drive(
            engine.borrow(self._intent, engine.lease_deadline_s(self._timeout_s))
        )
        return self._pooled.raw

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        drive(self._engine.give_back(self._pooled, error))

    _pooled: Pooled[C]


class TransactionLease(Generic[C]):
    """`with router.write() as conn`, or a read in a transaction."""

    __slots__ = ("_begin", "_end", "_lease")

    def __init__(
        self,
        begin: Callable[[], Coroutine[Any, Any, Transaction[C]]],
        end: Callable[[Transaction[C], BaseException | None], Coroutine[Any, Any, None]],
    ) -> None:
        self._begin = begin
        self._end = end

    def __enter__(self) -> C:
        self._lease = drive(self._begin())
        return self._lease.pooled.raw

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        drive(self._end(self._lease, error))

    _lease: Transaction[C]


class ReplicaRouter(Face[C]):
    """Routes reads to replicas and writes to the primary, for threads, with psycopg.

    Use it as `with ReplicaRouter.from_env() as router`, once per process. A worker that inherits an open router by a
    fork starts with new connections of its own.
    """

    _connectors = {"psycopg": _psycopg}  # noqa: RUF012 (declared ClassVar in Face)

    _orphaned = False
    """Open in the parent process, and not yet used in this one."""

    def __init__(self, settings: Settings, driver: str = "psycopg") -> None:
        super().__init__(settings, driver)
        self._reopening = Lock()

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, driver: str = "psycopg"
    ) -> ReplicaRouter[psycopg.Connection[Any]]:
        """A router of the environment's settings, this process's by default. Raises ConfigurationError."""
        return cls._from_env(environ, driver)  # type: ignore[return-value]  # psycopg is its one driver

    def open(self) -> Self:
        """Start to watch the nodes. Returns when each was looked at once, or after two seconds."""
        if self._engine is None:
            self._engine = self._assemble(ThreadRuntime())
            drive(self._engine.start())
            _routers.add(self)
        return self

    def close(self) -> None:
        """Stop watching and end the connections. What is still lent ends when it comes back."""
        engine, self._engine = self._engine, None
        _routers.discard(self)
        if engine is not None:
            drive(engine.stop())

    def drain(self, name: str, *, timeout_s: float | None = None) -> None:
        """Send no new read to this node, and return when nothing is lent there any more. No read is cut.

        It stays drained, watched and listed, in this router, until `undrain`. Raises UnknownNode, DrainRefused for the
        primary, and DrainTimeout when something is still lent after `timeout_s`.
        """
        drive(self.engine.members.drain(name, timeout_s))

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def read(
        self,
        *,
        timeout_s: float | None = None,
        transaction: bool = False,
        **options: Unpack[ReadOptions],
    ) -> ReadLease[C] | TransactionLease[C]:
        """A connection for reads, of one node for the block: a replica that qualifies, else the primary.

        `org_id`: it has replayed all that this org wrote through this router. `after`: all that a token covers.
        `max_lag_s`, `max_lag_bytes`: it is at most this stale. `prefer_replica=False`, `consistency="strong"`: the
        primary. The other options are told by `ReadOptions`. `timeout_s` bounds the wait for the connection.
        `transaction`: one REPEATABLE READ READ ONLY transaction; else autocommit.
        Raises LeaseTimeout, PrimaryUnavailable, NoReplica, RouterClosed on entering; WritesLost, TokenError at once.
        """
        check_time(timeout_s)
        engine = self._engine or self.engine
        intent = self._intent(engine, options)
        if transaction:
            return TransactionLease(lambda: engine.open_read(intent, timeout_s), engine.end_read)
        return ReadLease(engine, intent, timeout_s)

    def write(
        self, *, org_id: Hashable = None, transaction: bool | None = None, timeout_s: float | None = None
    ) -> TransactionLease[C]:
        """A connection of the primary in one transaction, committed on leaving and rolled back on an exception.

        `transaction=False` leaves it in autocommit. From entering on, reads of this `org_id` see the write.
        While there is no primary, entering waits for one. Raises PrimaryUnavailable, SplitBrain, LeaseTimeout,
        RouterClosed on entering (nothing was sent); on leaving, when the connection was lost, PrimaryUnavailable
        (surely not committed) or OutcomeUnknown.
        """
        engine, session = self.engine, present(self)
        return TransactionLease(
            lambda: engine.open_write(transaction, timeout_s, org_id, session), engine.end_write
        )

    def fetch(
        self,
        sql: str,
        *args: Any,
        timeout_s: float | None = None,
        hedge: bool | None = None,
        **options: Unpack[ReadOptions],
    ) -> list[Any]:
        """The driver's rows of one read, with the driver's placeholders. Tried on another node when one fails.

        `hedge`: send it to a second replica too when the first is late, and take the answer that comes first. It
        costs a thread, so here it is off unless it is asked for.
        Raises ReadTimeout when it does not finish within `timeout_s`; errors of the SQL pass as they are.
        """
        engine = self._engine or self.engine
        return drive(engine.fetch(sql, args, self._intent(engine, options), timeout_s, hedge))

    def fetch_one(self, sql: str, *args: Any, **options: Any) -> Any:
        """The first row, or None. Options as of `fetch`."""
        rows = self.fetch(sql, *args, **options)
        return rows[0] if rows else None

    def fetch_value(self, sql: str, *args: Any, **options: Any) -> Any:
        """The first column of the first row, or None. Options as of `fetch`."""
        row = self.fetch_one(sql, *args, **options)
        return None if row is None else row[0]

    def run_read(
        self,
        fn: Callable[[C], T],
        *,
        timeout_s: float | None = None,
        **options: Unpack[ReadOptions],
    ) -> T:
        """What `fn(conn)` returns. When its node fails under it, `fn` runs again on another: it must only read."""

        async def work(conn: C) -> T:
            return fn(conn)

        engine = self.engine
        return drive(engine.run_read(work, self._intent(engine, options), timeout_s))

    def execute(self, sql: str, *args: Any, org_id: Hashable = None, timeout_s: float | None = None) -> str:
        """One write on the primary, never sent twice; the server's command tag."""
        return drive(self.engine.execute(sql, args, timeout_s, org_id, present(self)))

    def token(self, *, org_id: Hashable = None) -> str:
        """A signed token of what this org has written, for `after=` in another process: safe in a header or a cookie.

        Without `org_id`: of what the present session must see; outside of one, of all that is committed by now.
        Asks the primary where it stands, once for all who wait.
        Raises ConfigurationError without PGFLEET_TOKEN_SECRET, PrimaryUnavailable, WritesLost.
        """
        return drive(self.engine.wishes.token(org_id, None if org_id is not None else present(self)))

    @property
    def engine(self) -> Engine[C]:
        """What lends the connections; in a forked worker a new one, made when it is first used."""
        if self._engine is None and self._orphaned:
            with self._reopening:
                self.open()
        return super().engine

    def _forget_parent(self) -> None:
        """In a forked worker: touch none of the parent's sockets, not even to close them."""
        if self._engine is not None:
            _inherited.append(self._engine)
            self._engine, self._orphaned, self._reopening = None, True, Lock()


_routers: weakref.WeakSet[ReplicaRouter[Any]] = weakref.WeakSet()
_inherited: list[Engine[Any]] = []
"""Engines of the parent process, kept for ever: to free one would say goodbye on the parent's connections."""


def _after_fork() -> None:
    for router in list(_routers):
        router._forget_parent()


os.register_at_fork(after_in_child=_after_fork)
