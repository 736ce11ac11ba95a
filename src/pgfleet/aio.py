"""The asynchronous face."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, Unpack, overload

from pgfleet.assembly import Connect
from pgfleet.core.intent import ReadIntent
from pgfleet.core.statement import leaves_session_alone
from pgfleet.engine import Engine
from pgfleet.engine.terms import check_time
from pgfleet.engine.transactions import Transaction
from pgfleet.engine.wishes import ReadOptions
from pgfleet.face import Face
from pgfleet.pool import Pooled
from pgfleet.runtimes import TaskRuntime
from pgfleet.sessions import present

if TYPE_CHECKING:
    import asyncpg
    import psycopg

C = TypeVar("C")
T = TypeVar("T")


def _psycopg() -> Connect[Any]:
    from pgfleet.adapters.psycopg import AsyncPsycopgConnector

    return AsyncPsycopgConnector


def _asyncpg() -> Connect[Any]:
    from pgfleet.adapters.asyncpg import AsyncpgConnector

    return AsyncpgConnector


class AsyncReadLease(Generic[C]):
    """`async with router.read() as conn`: one connection of one node for the block."""

    __slots__ = ("_engine", "_intent", "_pooled", "_timeout_s")

    def __init__(self, engine: Engine[C], intent: ReadIntent, timeout_s: float | None) -> None:
        self._engine = engine
        self._intent = intent
        self._timeout_s = timeout_s

    async def __aenter__(self) -> C:
        engine = self._engine
        self._pooled = engine.take(self._intent) or await engine.borrow(
            self._intent, engine.lease_deadline_s(self._timeout_s)
        )
        return self._pooled.raw

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._engine.give_back(self._pooled, error)

    _pooled: Pooled[C]


class AsyncTransactionLease(Generic[C]):
    """`async with router.write() as conn`, or a read in a transaction."""

    __slots__ = ("_begin", "_end", "_lease")

    def __init__(
        self,
        begin: Callable[[], Awaitable[Transaction[C]]],
        end: Callable[[Transaction[C], BaseException | None], Awaitable[None]],
    ) -> None:
        self._begin = begin
        self._end = end

    async def __aenter__(self) -> C:
        self._lease = await self._begin()
        return self._lease.pooled.raw

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(self._lease, error)

    _lease: Transaction[C]


class AsyncReplicaRouter(Face[C]):
    """Routes reads to replicas and writes to the primary, for asyncio: psycopg or asyncpg.

    Use it as `async with AsyncReplicaRouter.from_env() as router`, once per process and event loop.
    """

    _connectors = {"psycopg": _psycopg, "asyncpg": _asyncpg}  # noqa: RUF012 (declared ClassVar in Face)

    @overload
    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, driver: Literal["psycopg"] = "psycopg"
    ) -> AsyncReplicaRouter[psycopg.AsyncConnection[Any]]: ...

    @overload
    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, *, driver: Literal["asyncpg"]
    ) -> AsyncReplicaRouter[asyncpg.Connection]: ...

    @overload
    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None, driver: Literal["asyncpg"]
    ) -> AsyncReplicaRouter[asyncpg.Connection]: ...

    @overload
    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, driver: str = ...
    ) -> AsyncReplicaRouter[Any]: ...

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, driver: str = "psycopg"
    ) -> AsyncReplicaRouter[Any]:
        """A router of the environment's settings, this process's by default. Raises ConfigurationError."""
        return cls._from_env(environ, driver)

    async def open(self) -> Self:
        """Start to watch the nodes. Returns when each was looked at once, or after two seconds."""
        if self._engine is None:
            self._engine = self._assemble(TaskRuntime())
            try:
                await self._engine.start()
            except BaseException:
                await self.close()
                raise
        return self

    async def close(self) -> None:
        """Stop watching and end the connections. What is still lent ends when it comes back."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.stop()

    async def drain(self, name: str, *, timeout_s: float | None = None) -> None:
        """Send no new read to this node, and return when nothing is lent there any more. No read is cut.

        It stays drained, watched and listed, in this router, until `undrain`. Raises UnknownNode, DrainRefused for the
        primary, and DrainTimeout when something is still lent after `timeout_s`.
        """
        await self.engine.members.drain(name, timeout_s)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def read(
        self,
        *,
        timeout_s: float | None = None,
        transaction: bool = False,
        **options: Unpack[ReadOptions],
    ) -> AsyncReadLease[C] | AsyncTransactionLease[C]:
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
            return AsyncTransactionLease(lambda: engine.open_read(intent, timeout_s), engine.end_read)
        return AsyncReadLease(engine, intent, timeout_s)

    def write(
        self, *, org_id: Hashable = None, transaction: bool | None = None, timeout_s: float | None = None
    ) -> AsyncTransactionLease[C]:
        """A connection of the primary. psycopg: one transaction, committed on leaving; asyncpg: its autocommit.

        `transaction=True` is one transaction on both. From entering on, reads of this `org_id` see the write.
        While there is no primary, entering waits for one. Raises PrimaryUnavailable, SplitBrain, LeaseTimeout,
        RouterClosed on entering (nothing was sent); on leaving, when the connection was lost, PrimaryUnavailable
        (surely not committed) or OutcomeUnknown.
        """
        engine, session = self.engine, present(self)
        return AsyncTransactionLease(
            lambda: engine.open_write(transaction, timeout_s, org_id, session), engine.end_write
        )

    async def fetch(
        self,
        sql: str,
        *args: Any,
        timeout_s: float | None = None,
        hedge: bool | None = None,
        **options: Unpack[ReadOptions],
    ) -> list[Any]:
        """The driver's rows of one read, with the driver's placeholders. Tried on another node when one fails.

        `hedge`: send it to a second replica too when the first is late, and take the answer that comes first; None: as
        `PGFLEET_HEDGE` says, for statements that are reads by their text.
        Raises ReadTimeout when it does not finish within `timeout_s`; errors of the SQL pass as they are.
        """
        engine = self._engine or self.engine
        intent = self._intent(engine, options)
        if self._hedges and hedge is None:
            hedge = leaves_session_alone(sql)
        return await engine.fetch(sql, args, intent, timeout_s, hedge)

    async def fetch_one(self, sql: str, *args: Any, **options: Any) -> Any:
        """The first row, or None. Options as of `fetch`."""
        rows = await self.fetch(sql, *args, **options)
        return rows[0] if rows else None

    async def fetch_value(self, sql: str, *args: Any, **options: Any) -> Any:
        """The first column of the first row, or None. Options as of `fetch`."""
        row = await self.fetch_one(sql, *args, **options)
        return None if row is None else row[0]

    async def run_read(
        self,
        fn: Callable[[C], Awaitable[T]],
        *,
        timeout_s: float | None = None,
        **options: Unpack[ReadOptions],
    ) -> T:
        """What `fn(conn)` returns. When its node fails under it, `fn` runs again on another: it must only read."""
        engine = self.engine
        return await engine.run_read(fn, self._intent(engine, options), timeout_s)

    async def execute(
        self, sql: str, *args: Any, org_id: Hashable = None, timeout_s: float | None = None
    ) -> str:
        """One write on the primary, never sent twice; the server's command tag."""
        return await self.engine.execute(sql, args, timeout_s, org_id, present(self))

    async def token(self, *, org_id: Hashable = None) -> str:
        """A signed token of what this org has written, for `after=` in another process: safe in a header or a cookie.

        Without `org_id`: of what the present session must see; outside of one, of all that is committed by now.
        Asks the primary where it stands, once for all who wait.
        Raises ConfigurationError without PGFLEET_TOKEN_SECRET, PrimaryUnavailable, WritesLost.
        """
        return await self.engine.wishes.token(org_id, None if org_id is not None else present(self))
