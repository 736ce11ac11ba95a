"""Servers and drivers whose every operation is done at once, for pgfleet and for hasql alike."""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Sequence
from itertools import count
from typing import Any

from hasql.abc import PoolDriver
from hasql.metrics import PoolStats

from pgfleet.aio import AsyncReplicaRouter
from pgfleet.core.failure import Fault
from tests.fakes import FakeServer

POOL_SIZE = 4
PRIMARY_PORT = 1


class FakeConnection:
    def __init__(self, port: int) -> None:
        self.port = port


class FakeConnector:
    """pgfleet's port to a driver."""

    transactional = False

    def __init__(self, session: Any) -> None:
        (_, self._port), *_ = session.dsn.hosts
        self._server = FakeServer(f"fake-{self._port}", in_recovery=self._port != PRIMARY_PORT)

    async def open(self, timeout_s: float) -> FakeConnection:
        return FakeConnection(self._port)

    async def one_row(self, conn: FakeConnection, sql: str) -> Sequence[Any]:
        return self._server.row()

    def fetch(self, conn: FakeConnection, sql: str, args: Sequence[Any]) -> Awaitable[list[Any]]:
        return _no_rows()

    async def execute(self, conn: FakeConnection, sql: str, args: Sequence[Any]) -> str:
        return "SELECT 0"

    async def begin(self, conn: FakeConnection, *, read_only: bool) -> FakeConnection:
        return conn

    async def commit(self, transaction: FakeConnection) -> None: ...

    async def rollback(self, transaction: FakeConnection) -> None: ...

    async def reset(self, conn: FakeConnection) -> None: ...

    async def close(self, conn: FakeConnection) -> None: ...

    def sever(self, conn: FakeConnection) -> None: ...

    async def abandon(self, conn: FakeConnection) -> None: ...

    def drop(self, conn: FakeConnection) -> None: ...

    def is_idle(self, conn: FakeConnection) -> bool:
        return True

    def is_gone(self, conn: FakeConnection) -> bool:
        return False

    def lost_with(self, conn: FakeConnection, error: BaseException) -> bool:
        return False

    def may_have_committed(self, transaction: FakeConnection) -> bool:
        return False

    def fault(self, error: BaseException) -> Fault | None:
        return None


async def _no_rows() -> list[Any]:
    return []


class FakeRouter(AsyncReplicaRouter[FakeConnection]):
    _connectors = {"fake": lambda: FakeConnector}  # noqa: RUF012 (declared ClassVar in Face)


class FakePool:
    """What hasql's driver lends from: a stack."""

    def __init__(self, name: str, is_primary: bool) -> None:
        self.name = name
        port = PRIMARY_PORT if is_primary else PRIMARY_PORT + 1
        self.idle = [FakeConnection(port) for _ in range(POOL_SIZE)]


class FakeLease:
    __slots__ = ("_conn", "_pool")

    def __init__(self, pool: FakePool) -> None:
        self._pool = pool

    async def __aenter__(self) -> FakeConnection:
        self._conn = self._pool.idle.pop()
        return self._conn

    async def __aexit__(self, *exc_info: object) -> None:
        self._pool.idle.append(self._conn)

    def __await__(self) -> Generator[Any, None, FakeConnection]:
        return self.__aenter__().__await__()

    _conn: FakeConnection


class FakeDriver(PoolDriver[FakePool, FakeConnection]):
    """hasql's port to a driver. The first pool that it makes is the primary's."""

    def __init__(self) -> None:
        self._made = count()

    def get_pool_freesize(self, pool: FakePool) -> int:
        return len(pool.idle)

    def acquire_from_pool(self, pool: FakePool, *, timeout: float | None = None, **_: Any) -> FakeLease:
        return FakeLease(pool)

    async def release_to_pool(self, connection: FakeConnection, pool: FakePool, **_: Any) -> None:
        pool.idle.append(connection)

    async def is_master(self, connection: FakeConnection) -> bool:
        return connection.port == PRIMARY_PORT

    async def fetch_scalar(self, connection: FakeConnection, query: str) -> int:
        return 1

    async def pool_factory(self, dsn: Any, **_: Any) -> FakePool:
        return FakePool(str(dsn), is_primary=next(self._made) == 0)

    async def close_pool(self, pool: FakePool) -> None: ...

    async def terminate_pool(self, pool: FakePool) -> None: ...

    def is_connection_closed(self, connection: FakeConnection) -> bool:
        return False

    def host(self, pool: FakePool) -> str:
        return pool.name

    def pool_stats(self, pool: FakePool) -> PoolStats:
        return PoolStats(min=1, max=POOL_SIZE, idle=len(pool.idle), used=POOL_SIZE - len(pool.idle))
