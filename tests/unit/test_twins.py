"""One script through both faces: the drivers must see the same, and so must the caller."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet import AsyncReplicaRouter
from pgfleet.core.probe import read_observation
from pgfleet.engine import Engine
from pgfleet.ports import Runtime, Signal
from pgfleet.runtimes import drive
from tests.examples import examples
from tests.fakes import (
    FakeAsyncRouter,
    FakeConnection,
    FakeServer,
    FakeThreadRouter,
    World,
    fleet_settings,
    fleet_world,
    leases,
    lost,
    run,
    sql_error,
)

Step = tuple[str, Any]
Outcome = list[str]


class StillWatcher:
    """Looks at a node when it is asked to, at once and in the caller's own turn: no probe runs beside the script."""

    def __init__(self, engine: Engine[FakeConnection], world: World, runtime: Runtime) -> None:
        self.board, self.world, self.runtime = engine.board, world, runtime

    async def start(self, timeout_s: float) -> None:
        for name in self.world.servers:
            self.ask(name)

    def stop(self) -> None:
        """Nothing runs."""

    def ask(self, name: str) -> Signal:
        server, now_s = self.world[name], self.runtime.clock()
        if server.refuses is None:
            self.board.observe(name, read_observation(server.row(), now_s, now_s))
        told = self.runtime.signal()
        told.set()
        return told

    async def refresh(self, names: tuple[str, ...], timeout_s: float) -> None:
        for name in names:
            self.ask(name)


def still(engine: Engine[FakeConnection], world: World, runtime: Runtime) -> Engine[FakeConnection]:
    watcher = StillWatcher(engine, world, runtime)
    engine._watcher = engine._retries._watcher = engine._knowledge._watcher = watcher
    return engine


def ticking() -> Callable[[], float]:
    """A clock that moves when it is read: for both faces alike, and never twice the same."""
    return count(1000.0, 1e-6).__next__


class AsyncTwin(FakeAsyncRouter):
    def _assemble(self, runtime: Runtime) -> Engine[FakeConnection]:
        runtime.clock = ticking()  # type: ignore[method-assign]  # of both runtimes it is an attribute
        return still(AsyncReplicaRouter._assemble(self, runtime), self.world, runtime)


class ThreadTwin(FakeThreadRouter):
    def _assemble(self, runtime: Runtime) -> Engine[FakeConnection]:
        runtime.clock = ticking()  # type: ignore[method-assign]
        return still(super()._assemble(runtime), self.world, runtime)


def change(world: World, what: str, name: str) -> None:
    """What happens to a server between two calls."""
    server = world[name]
    match what:
        case "crash":
            server.crash()
        case "restart":
            server.restart()
        case "die":
            for conn in list(server.connections):
                conn.cut()
        case "fail once":
            errors = [lost()]
            server.answers["q"] = lambda: errors.pop() if errors else [(name,)]
        case "conflict":
            server.answers["q"] = sql_error("40001")
        case "dirty":
            server.reset_error = sql_error("XX000")
        case "refuse":
            server.refuses = sql_error("28P01", fatal=True)
        case _:
            move(server, what)


def move(server: FakeServer, what: str) -> None:
    """What becomes of its role, or of a write."""
    match what:
        case "promote":
            server.in_recovery, server.timeline = False, 2
        case "demote":
            server.in_recovery, server.timeline = True, 2
            server.restart()
        case "move":
            server.system_id = 8
        case "lose commit":
            server.answers["commit"] = server.crash
        case "no primary":
            server.answers["q"] = sql_error("25006")


class Twins:
    """The same step on either face."""

    def __init__(self) -> None:
        self.worlds = fleet_world(2), fleet_world(2)
        options: dict[str, Any] = {"connection_timeout_s": 0.001}
        self.tasks = AsyncTwin(self.worlds[0], fleet_settings(2, **options))
        self.threads = ThreadTwin(self.worlds[1], fleet_settings(2, **options))

    async def by_tasks(self, story: list[Step]) -> Outcome:
        said = []
        async with self.tasks as router:
            for what, which in story:
                if (use := self._uses(router).get(what)) is None:
                    change(router.world, what, which)
                else:
                    said.append(await self._hear(use, which))
            said.append(str(leases(router)))
        return said

    def by_threads(self, story: list[Step]) -> Outcome:
        said = []
        with self.threads as router:
            for what, which in story:
                if (use := self._uses(router).get(what)) is None:
                    change(router.world, what, which)
                else:
                    said.append(drive(self._hear(use, which)))
            said.append(str(leases(router)))
        return said

    async def _hear(self, use: Callable[[Any], Any], which: Any) -> str:
        try:
            outcome = use(which)
            return str(await outcome if hasattr(outcome, "__await__") else outcome)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def _uses(self, router: Any) -> dict[str, Callable[[Any], Any]]:
        """`which` chooses a variant of the call: its org, or how it ends."""
        return {
            "fetch": lambda org: router.fetch("q", org_id=org),
            "fetch clean": lambda org: router.fetch("select 1", org_id=org),
            "fetch one": lambda org: router.fetch_one("q", org_id=org),
            "fetch value": lambda org: router.fetch_value("q", org_id=org),
            "primary": lambda org: router.fetch("q", prefer_replica=False),
            "strict": lambda org: router.fetch("q", max_lag_s=5.0),
            "execute": lambda org: router.execute("q", org_id=org),
            "read": lambda fails: self._block(router.read(), fails),
            "transaction": lambda fails: self._block(router.read(transaction=True), fails),
            "write": lambda fails: self._block(router.write(org_id=1), fails),
            "autocommit": lambda fails: self._block(router.write(transaction=False), fails),
            "run read": lambda fails: self._run_read(router, fails),
            "healthy": router.is_healthy,
            "look": lambda name: router.engine._watcher.ask(name) and None,
            "accept": lambda _: router.accept_cluster(8),
            "drain": lambda name: router.drain(name, timeout_s=0.0),
            "undrain": router.undrain,
            "explain": lambda org: str(router.explain(org_id=org)),
        }

    def _block(self, lease: Any, fails: bool) -> Any:
        def use(conn: FakeConnection) -> str:
            conn.dirty = True
            if fails:
                raise ValueError("the caller's own")
            return conn.server.name

        async def awaited() -> str:
            async with lease as conn:
                return use(conn)

        if hasattr(lease, "__aenter__"):
            return awaited()
        with lease as conn:
            return use(conn)

    def _run_read(self, router: Any, fails: bool) -> Any:
        def use(conn: FakeConnection) -> str:
            if fails:
                raise ValueError("the caller's own")
            return conn.server.name

        async def awaited(conn: FakeConnection) -> str:
            return use(conn)

        return router.run_read(awaited if router is self.tasks else use)


orgs = st.sampled_from((None, 1, 2))
servers = st.sampled_from(("primary", "replica-1", "replica-2"))
by_org = ("fetch", "fetch clean", "fetch one", "fetch value", "primary", "strict", "execute", "explain")
by_end = ("read", "transaction", "write", "autocommit", "run read")
faults = (
    "crash",
    "restart",
    "die",
    "fail once",
    "conflict",
    "dirty",
    "refuse",
    "healthy",
    "drain",
    "undrain",
)
moves = ("promote", "demote", "move", "lose commit", "no primary", "look", "accept")
steps = st.one_of(
    st.tuples(st.sampled_from(by_org), orgs),
    st.tuples(st.sampled_from(by_end), st.booleans()),
    st.tuples(st.sampled_from(faults + moves), servers),
)


@examples(40)
@given(st.lists(steps, max_size=20))
def test_both_faces_do_and_say_the_same(story: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgfleet.chance.CHANCE.shuffle", lambda sequence: None)
        patch.setattr("pgfleet.chance.CHANCE.randrange", lambda count: 0)
        patch.setattr("pgfleet.engine.lender.BUSY_PAUSE_S", 0.0)
        twins = Twins()
        said_to_tasks = run(twins.by_tasks(story))
        said_to_threads = twins.by_threads(story)
    assert said_to_tasks == said_to_threads
    assert twins.worlds[0].trace == twins.worlds[1].trace
    assert said_to_tasks[-1] == "0"
