"""A world without a network or a clock of its own: servers, a driver for them, and an event loop of virtual time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from pgfleet import AsyncReplicaRouter, NodeSettings, ReplicaRouter, Settings
from pgfleet.adapters.session import SessionSettings
from pgfleet.core.failure import Fault
from pgfleet.core.lsn import Lsn, format_lsn
from pgfleet.core.probe import OBSERVE_SQL
from pgfleet.settings import Dsn
from pgfleet.testing.simulated.errors import SimulatedError as FakeError
from pgfleet.testing.simulated.errors import lost, sql_error
from pgfleet.testing.virtual import (
    VirtualLoop,
    VirtualRouter,
    VirtualRuntime,
    finish,
    pass_time,
    run,
    settle,
)

__all__ = [
    "FakeAsyncRouter",
    "FakeConnection",
    "FakeConnector",
    "FakeError",
    "FakeServer",
    "FakeThreadRouter",
    "HandClock",
    "VirtualLoop",
    "VirtualRuntime",
    "World",
    "dsn",
    "fleet_settings",
    "fleet_world",
    "in_virtual_time",
    "leases",
    "lost",
    "pass_time",
    "run",
    "settle",
    "sql_error",
]

# time

T = TypeVar("T")


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a plain test of one that awaits."""

    @functools.wraps(test)
    def run_it(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return run_it


class HandClock:
    """A runtime for what never waits: its time is what a test says it is."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def clock(self) -> float:
        return self.now_s

    def lock(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def signal(self) -> NoReturn:
        raise AssertionError("nobody waits here")

    def call_later(self, delay_s: float, call: Callable[[], None]) -> NoReturn:
        raise AssertionError("nothing is due later here")

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> NoReturn:
        raise AssertionError("nothing runs beside the test")

    def race(self, first: Coroutine[Any, Any, Any], delay_s: float, rival: Any) -> NoReturn:
        raise AssertionError("nobody waits here")

    async def aside(self, call: Callable[[], T]) -> T:
        return call()

    async def close(self, timeout_s: float) -> None:
        """Nothing runs."""


# servers


@dataclass(eq=False)
class FakeConnection:
    """One session, and what it went through."""

    server: FakeServer
    serial: int
    read_only: bool = False
    alive: bool = True
    in_transaction: bool = False
    dirty: bool = False
    """A statement went over it since it was last reset."""
    severed: asyncio.Future[None] | None = None

    def cut(self) -> None:
        self.alive = False
        self.server.connections.discard(self)
        if self.severed:
            finish(self.severed)


@dataclass(eq=False)
class FakeServer:
    """A PostgreSQL as far as pgfleet can tell. Set its fields to make it do things."""

    name: str
    in_recovery: bool = True
    system_id: int = 7
    life: int = 1
    timeline: int | None = 1
    insert_lsn: int = 1000
    flush_lsn: int = 1000
    replay_lsn: int = 1000
    standbys: tuple[str, ...] = ()
    refuses: Exception | None = None
    """What every attempt to connect meets."""
    silent: bool = False
    """A black hole: accepts, and answers nothing."""
    latency_s: float = 0.0
    takes_s: dict[str, float] = field(default_factory=dict)
    """By statement: how long it takes on top of that."""
    looked_at: int = 0
    """How often it was asked what it is."""
    answers: dict[str, Any] = field(default_factory=dict)
    """By statement: rows, or an exception, or a function that gives or raises."""
    reset_error: BaseException | None = None
    rollback_error: BaseException | None = None
    connections: set[FakeConnection] = field(default_factory=set)
    opened: int = 0
    most_at_once: int = 0
    opening: int = 0
    most_opening: int = 0

    def row(self) -> tuple[Any, ...]:
        """The answer to OBSERVE_SQL."""
        self.looked_at += 1
        mine = self.in_recovery
        return (
            mine,
            str(self.system_id),
            f"{self.name} {self.life}",
            180000,
            self.timeline if mine else None,
            None if mine else f"{self.timeline:08X}",
            None if mine else format_lsn(Lsn(self.insert_lsn)),
            None if mine else format_lsn(Lsn(self.flush_lsn)),
            format_lsn(Lsn(self.replay_lsn)) if mine else None,
            format_lsn(Lsn(self.replay_lsn)) if mine else None,
            False,
            0.2,
            8192,
            16 << 20,
            "1:1:" if mine else f"{2 + self.insert_lsn}:{2 + self.insert_lsn}:",
            "0/0",
            None if mine else list(self.standbys),
            False,
        )

    def crash(self) -> None:
        """End every session, and refuse new ones."""
        self.refuses = ConnectionRefusedError(f"{self.name} refused the connection")
        for conn in list(self.connections):
            conn.cut()

    def restart(self) -> None:
        """Come back, as another incarnation."""
        self.crash()
        self.refuses = None
        self.life += 1


class World:
    """All servers, by host name, and a trace of what was done to them except by probes."""

    def __init__(self, *servers: FakeServer) -> None:
        self.servers = {server.name: server for server in servers}
        self.trace: list[tuple[str, ...]] = []

    def __getitem__(self, name: str) -> FakeServer:
        return self.servers[name]

    def connector(self, to: Dsn) -> FakeConnector:
        """That of a pool."""
        return self.connect(SessionSettings(to, statement_timeout_s=1.0))

    def connect(self, session: SessionSettings) -> FakeConnector:
        """What an adapter is to the engine."""
        return FakeConnector(self, self.servers[session.dsn.hosts[0][0]], session)


class FakeConnector:
    """The driver: as a real one, it knows nothing of pools."""

    transactional = True

    def __init__(self, world: World, server: FakeServer, session: SessionSettings) -> None:
        self.world = world
        self.server = server
        self.read_only = session.read_only
        self.probing = not session.statement_timeout_s

    def _note(self, *what: str) -> None:
        if not self.probing:
            self.world.trace.append((self.server.name, *what))

    async def _answer(
        self, conn: FakeConnection | None, timeout_s: float | None = None, work_s: float = 0.0
    ) -> None:
        """Take as long as the server takes; end as the connection ends."""
        server = self.server
        if not server.silent and not server.latency_s and not work_s:
            return
        loop = asyncio.get_running_loop()
        severed = loop.create_future()
        if conn:
            conn.severed = severed
        delay_s = None if server.silent else server.latency_s + work_s
        try:
            patience_s = min(d for d in (delay_s, timeout_s, 1e6) if d is not None)
            timer = loop.call_later(patience_s, finish, severed)
            await severed
        finally:
            timer.cancel()
        if conn and not conn.alive:
            raise lost()
        if delay_s is None or (timeout_s is not None and timeout_s < delay_s):
            raise TimeoutError("timed out")

    async def open(self, timeout_s: float) -> FakeConnection:
        server = self.server
        self._note("open")
        server.opening += 1
        server.most_opening = max(server.most_opening, server.opening)
        try:
            await self._answer(None, timeout_s)
            if server.refuses:
                raise server.refuses
        finally:
            server.opening -= 1
        server.opened += 1
        conn = FakeConnection(server, server.opened, self.read_only)
        server.connections.add(conn)
        server.most_at_once = max(server.most_at_once, len(server.connections))
        return conn

    async def one_row(self, conn: FakeConnection, sql: str) -> Sequence[Any]:
        await self._say(conn)
        assert sql == OBSERVE_SQL
        return self.server.row()

    async def _say(self, conn: FakeConnection, work_s: float = 0.0) -> None:
        if not conn.alive:
            raise lost()
        await self._answer(conn, work_s=work_s)
        if not conn.alive:
            raise lost()

    async def _statement(self, conn: FakeConnection, sql: str) -> Any:
        conn.dirty = True
        await self._say(conn, self.server.takes_s.get(sql, 0.0))
        answer = self.server.answers.get(sql, [(self.server.name,)])
        if callable(answer):
            answer = answer()
        if isinstance(answer, BaseException):
            if getattr(answer, "fault", None) and answer.fault.lost:  # type: ignore[attr-defined]
                conn.cut()
            raise answer
        return answer

    async def fetch(self, conn: FakeConnection, sql: str, args: Sequence[Any]) -> list[Any]:
        self._note("fetch", sql)
        rows: list[Any] = await self._statement(conn, sql)
        return rows

    async def execute(self, conn: FakeConnection, sql: str, args: Sequence[Any]) -> str:
        self._note("execute", sql)
        await self._statement(conn, sql)
        return "DONE"

    async def begin(self, conn: FakeConnection, *, read_only: bool) -> FakeConnection:
        self._note("begin", "read only" if read_only else "read write")
        self._happen("begin")
        await self._say(conn)
        conn.in_transaction = True
        return conn

    def _happen(self, what: str) -> None:
        """What a test has for this moment, once."""
        if happens := self.server.answers.pop(what, None):
            happens()

    async def commit(self, conn: FakeConnection) -> None:
        self._note("commit")
        self._happen("commit")
        await self._say(conn)
        conn.in_transaction = False

    async def rollback(self, conn: FakeConnection) -> None:
        self._note("rollback")
        if self.server.rollback_error:
            raise self.server.rollback_error
        await self._say(conn)
        conn.in_transaction = False

    async def reset(self, conn: FakeConnection) -> None:
        self._note("reset")
        if self.server.reset_error:
            raise self.server.reset_error
        await self._say(conn)
        conn.in_transaction = conn.dirty = False

    async def close(self, conn: FakeConnection) -> None:
        self._note("close")
        conn.cut()

    def sever(self, conn: FakeConnection) -> None:
        self._note("sever")
        conn.cut()

    def abandon(self, conn: FakeConnection) -> Coroutine[Any, Any, None]:
        self._note("abandon")
        conn.cut()
        return self._stop()

    async def _stop(self) -> None:
        self._note("stop")

    def drop(self, conn: FakeConnection) -> None:
        self._note("drop")
        conn.cut()

    def is_idle(self, conn: FakeConnection) -> bool:
        return conn.alive and not conn.in_transaction

    def is_gone(self, conn: FakeConnection) -> bool:
        return not conn.alive

    def lost_with(self, conn: FakeConnection, error: BaseException) -> bool:
        if not isinstance(error, FakeError) or not error.fault.lost:
            return False
        return error.fault.sqlstate is not None or not conn.alive

    def may_have_committed(self, transaction: FakeConnection) -> bool:
        return False

    def fault(self, error: BaseException) -> Fault | None:
        return error.fault if isinstance(error, FakeError) else None


# routers


def dsn(name: str) -> Dsn:
    return Dsn.parse(f"postgresql://u:secret@{name}:5432/db")


def fleet_settings(replicas: int = 3, **options: Any) -> Settings:
    """A primary and replicas, with small pools that are not filled ahead."""
    node: dict[str, Any] = {"max_connections": 4, "min_connections": 0}
    node |= options.pop("node", {})
    weights = options.pop("weights", [1] * replicas)
    names = [f"replica-{n}" for n in range(1, replicas + 1)]
    nodes = [NodeSettings(name, dsn(name), weight=w, **node) for name, w in zip(names, weights, strict=True)]
    return Settings(
        NodeSettings("primary", dsn("primary"), **node), tuple(nodes), **{"use_replicas": True, **options}
    )


def fleet_world(replicas: int = 3) -> World:
    """The servers of `fleet_settings`."""
    names = [f"replica-{n}" for n in range(1, replicas + 1)]
    return World(FakeServer("primary", in_recovery=False), *map(FakeServer, names))


class FakeAsyncRouter(VirtualRouter[FakeConnection]):
    """The asynchronous face over a world, in virtual time."""

    def __init__(self, world: World, settings: Settings) -> None:
        super().__init__(settings, world.connect)
        self.world = world


class FakeThreadRouter(ReplicaRouter[FakeConnection]):
    """The threaded face over a world."""

    _connectors = {"psycopg": lambda: None}  # type: ignore[dict-item,return-value]  # noqa: RUF012

    def __init__(self, world: World, settings: Settings) -> None:
        super().__init__(settings)
        self._connect = world.connect
        self.world = world


def leases(router: AsyncReplicaRouter[Any] | ReplicaRouter[Any]) -> int:
    """Connections lent and callers in line, of every pool of the router."""
    return sum(s.active + s.waiting for pair in router.pool_stats().values() for s in pair)
