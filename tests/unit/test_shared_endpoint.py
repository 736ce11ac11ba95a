"""Reads through an address behind which several servers stand. In virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest

from pgfleet import NoReplica
from pgfleet.adapters.session import SessionSettings
from tests.fakes import (
    FakeAsyncRouter,
    FakeConnection,
    FakeConnector,
    FakeServer,
    World,
    fleet_settings,
    in_virtual_time,
    leases,
    lost,
    pass_time,
    settle,
)
from tests.unit.test_engine import CLEAN, fetched, served_by

ENDPOINT = "replica-1"


class EndpointConnector:
    """Leads each new connection to the next of the servers."""

    transactional = True

    def __init__(self, world: EndpointWorld, session: SessionSettings) -> None:
        self._world = world
        self._of = {name: FakeConnector(world, world[name], session) for name in world.behind}

    async def open(self, timeout_s: float) -> FakeConnection:
        return await self._of[next(self._world.turns)].open(timeout_s)

    def fault(self, error: BaseException) -> Any:
        return self._of[self._world.behind[0]].fault(error)

    def __getattr__(self, name: str) -> Any:
        return lambda conn, *args, **options: getattr(self._of[conn.server.name], name)(
            conn, *args, **options
        )


class EndpointWorld(World):
    """`replica-1` is an address of the servers `a` and `b`; `replica-2`, where there is one, is a server of its own."""

    def __init__(self, *behind: str) -> None:
        servers = [
            FakeServer("primary", in_recovery=False),
            *map(FakeServer, behind),
            FakeServer("replica-2"),
        ]
        super().__init__(*servers)
        self.behind = behind
        self.turns = cycle(behind)

    def lead_to(self, *names: str) -> None:
        """New connections go to these from now on."""
        self.turns = cycle(names)

    def connect(self, session: SessionSettings) -> Any:
        if session.dsn.hosts[0][0] == ENDPOINT:
            return EndpointConnector(self, session)
        return super().connect(session)


@asynccontextmanager
async def endpoint(
    *, declared: bool = True, replicas: int = 1, behind: tuple[str, ...] = ("a", "b"), **options: Any
) -> AsyncIterator[FakeAsyncRouter]:
    """An open router whose first replica is a shared endpoint."""
    world = EndpointWorld(*behind)
    settings = fleet_settings(replicas, **options)
    first = replace(settings.replicas[0], shared_endpoint=declared)
    settings = replace(settings, replicas=(first, *settings.replicas[1:]))
    async with FakeAsyncRouter(world, settings) as router:
        yield router
        await settle()
        assert leases(router) == 0
    assert not any(server.connections for server in world.servers.values())


def write(world: World, lsn: int, *replayed_by: str) -> None:
    world["primary"].insert_lsn = world["primary"].flush_lsn = lsn
    for name in replayed_by:
        world[name].replay_lsn = lsn


async def servers_of_ten(router: FakeAsyncRouter) -> set[str]:
    return {await served_by(router) for _ in range(10)}


async def wrote(router: FakeAsyncRouter, lsn: int, *replayed_by: str, **options: Any) -> None:
    async with router.write(**options):
        pass
    await pass_time(0.001)
    write(router.world, lsn, *replayed_by)


def opened(router: FakeAsyncRouter) -> int:
    return sum(step[1] == "open" and step[0] in "ab" for step in router.world.trace)


def asked(router: FakeAsyncRouter) -> int:
    return router.world["a"].looked_at + router.world["b"].looked_at


async def open_both(router: FakeAsyncRouter) -> None:
    """A connection to each server is idle."""
    async with router.read() as one, router.read() as other:
        assert {one.server.name, other.server.name} == {"a", "b"}


@in_virtual_time
async def test_a_read_that_must_see_a_write_is_served_by_the_server_that_has_it() -> None:
    async with endpoint() as router:
        await open_both(router)
        for turn in range(20):
            await pass_time(0.6)  # few writes: each may have a question of its own
            await wrote(router, 2000 + turn, "b", org_id=7)
            assert await served_by(router, org_id=7) == "b"


@in_virtual_time
async def test_what_the_probe_sees_of_one_server_proves_nothing_of_another() -> None:
    async with endpoint() as router:
        await open_both(router)
        router.world.lead_to("a")  # type: ignore[attr-defined]
        for turn in range(20):
            await wrote(router, 2000 + turn, "a", org_id=7)
            await pass_time(1.5)
            assert router.world["b"].connections
            assert await served_by(router, org_id=7) == "a"


@in_virtual_time
async def test_when_no_server_has_it_the_primary_serves() -> None:
    async with endpoint() as router:
        await open_both(router)
        await wrote(router, 2000, org_id=7)
        assert await served_by(router, org_id=7) == "primary"


@in_virtual_time
async def test_no_storm_of_connections_while_no_server_has_it() -> None:
    async with endpoint() as router:
        await open_both(router)
        before = opened(router)
        for turn in range(50):
            await wrote(router, 2000 + turn, org_id=7)
            assert await served_by(router, org_id=7) == "primary"
        assert opened(router) - before <= 2


@in_virtual_time
async def test_a_plain_read_takes_no_server_that_is_too_stale() -> None:
    async with endpoint(max_lag_s=3.0) as router:
        await open_both(router)
        for turn in range(20):
            write(router.world, 2000 + turn, "a")
            await pass_time(0.5)
        router.world.trace.clear()
        for _ in range(30):
            assert await served_by(router) == "a"


@in_virtual_time
async def test_a_server_is_asked_by_one_connection_for_all_and_only_when_it_has_to_be() -> None:
    async with endpoint(max_lag_s=3.0) as router:
        await open_both(router)
        write(router.world, 2000, "a", "b")
        await pass_time(0.1)
        before = asked(router)
        for _ in range(100):
            await router.fetch(CLEAN)
        assert asked(router) == before
        assert fetched(router.world)["primary"] == 0


@in_virtual_time
async def test_a_bound_of_its_own_is_asked_for() -> None:
    async with endpoint() as router:
        await open_both(router)
        write(router.world, 2000, "b")
        await pass_time(2.0)
        write(router.world, 3000, "b")
        for _ in range(10):
            assert await served_by(router, max_lag_s=0.5) == "b"


@in_virtual_time
async def test_lives_live_side_by_side() -> None:
    async with endpoint() as router:
        async with router.read() as one, router.read() as other:
            pass
        for _ in range(5):
            router.engine._watcher.ask(ENDPOINT)
            await pass_time(1.0)
        assert one.alive
        assert other.alive


@in_virtual_time
async def test_a_server_that_became_the_primary_serves_no_read_as_a_replica() -> None:
    async with endpoint(max_lag_s=1.0) as router:
        await open_both(router)
        router.world["a"].in_recovery = False
        await pass_time(2.0)
        write(router.world, 5000, "b")
        await pass_time(2.0)
        assert router.topology.primary_name == "primary"
        assert await servers_of_ten(router) == {"b"}
        assert await served_by(router, prefer_replica=False) == "primary"


@in_virtual_time
async def test_a_server_of_an_old_timeline_serves_nothing() -> None:
    async with endpoint() as router:
        await open_both(router)
        router.world["primary"].timeline = router.world["b"].timeline = 2
        await pass_time(2.5)
        assert await servers_of_ten(router) == {"b"}


@in_virtual_time
async def test_a_session_stays_with_the_server_that_it_read() -> None:
    async with endpoint() as router:
        await open_both(router)
        write(router.world, 2000, "b")
        await pass_time(1.2)
        with router.session():
            first = await served_by(router, max_lag_s=0.9)
            assert first == "b", "it has replayed all"
            for _ in range(10):
                assert await served_by(router) == "b"


@in_virtual_time
async def test_another_server_behind_the_same_address_is_another_seat() -> None:
    async with endpoint() as router:
        with router.session():
            router.world.lead_to("b")  # type: ignore[attr-defined]
            assert await served_by(router) == "b"
            for conn in list(router.world["b"].connections):
                conn.cut()
            router.world.lead_to("a")  # type: ignore[attr-defined]
            write(router.world, 4000, "b")
            assert await served_by(router) == "primary", "what b has shown, a may not have"


@in_virtual_time
async def test_a_silent_server_behind_it_costs_its_connection_and_not_the_others() -> None:
    async with endpoint() as router:
        await open_both(router)
        router.world["a"].silent = True
        router.world.lead_to("b")  # type: ignore[attr-defined]
        await wrote(router, 2000, "b", org_id=7)
        assert await served_by(router, org_id=7) == "b"
        assert router.world["b"].connections
        assert router.is_healthy(ENDPOINT)


@in_virtual_time
async def test_a_connection_that_is_lost_condemns_no_other_server() -> None:
    async with endpoint() as router:
        await open_both(router)
        router.world["a"].answers["q"] = router.world["b"].answers["q"] = lost()
        await router.fetch("q")
        assert router.topology.node(ENDPOINT).trouble is None


@in_virtual_time
async def test_other_replicas_keep_the_short_way() -> None:
    async with endpoint(replicas=2, max_lag_s=3.0) as router:
        await open_both_of_two(router)
        write(router.world, 2000, "replica-2")
        await pass_time(1.0)
        write(router.world, 3000, "replica-2")
        await pass_time(3.0)
        router.world.trace.clear()
        for _ in range(20):
            assert await served_by(router) == "replica-2"


async def open_both_of_two(router: FakeAsyncRouter) -> None:
    async with router.read(), router.read(), router.read(), router.read():
        pass


@in_virtual_time
async def test_whoever_wants_no_primary_gets_none() -> None:
    async with endpoint() as router:
        await open_both(router)
        await wrote(router, 2000, org_id=7)
        with pytest.raises(NoReplica, match="has not replayed"):
            await router.fetch(CLEAN, org_id=7, unqualified="error")
        reading = asyncio.ensure_future(router.fetch(CLEAN, org_id=7, unqualified="wait", timeout_s=5.0))
        await pass_time(0.5)
        assert not reading.done()
        write(router.world, 2000, "a")
        assert await reading == [("a",)]
        await wrote(router, 3000, org_id=7)
        with pytest.raises(NoReplica):
            await router.fetch(CLEAN, org_id=7, unqualified="wait", timeout_s=0.5)


@in_virtual_time
async def test_hedged_and_run_reads_are_checked_too() -> None:
    async with endpoint(hedge=True) as router:
        await open_both(router)
        for turn in range(10):
            await pass_time(0.6)
            await wrote(router, 2000 + turn, "b", org_id=7)
            assert (await router.fetch(CLEAN, org_id=7, hedge=True)) == [("b",)]

            async def work(conn: FakeConnection) -> str:
                return conn.server.name

            assert await router.run_read(work, org_id=7) == "b"
            async with router.read(org_id=7, transaction=True) as conn:
                assert conn.server.name == "b"


@in_virtual_time
async def test_hedged_reads_open_no_connection_each_while_no_server_has_it() -> None:
    async with endpoint(hedge=True, max_lag_s=1.0) as router:
        await open_both(router)
        write(router.world, 2000)
        await pass_time(3.0)
        before = opened(router)
        for _ in range(50):
            assert await router.fetch(CLEAN, hedge=True) == [("primary",)]
        assert opened(router) - before <= 1


@in_virtual_time
async def test_a_bound_in_bytes_is_asked_for() -> None:
    async with endpoint() as router:
        await open_both(router)
        write(router.world, 9000, "b")
        await pass_time(1.9)
        for _ in range(10):
            assert await served_by(router, max_lag_bytes=100) == "b"


@in_virtual_time
async def test_a_cancelled_question_leaves_nothing_behind() -> None:
    async with endpoint() as router:
        await open_both(router)
        await wrote(router, 2000, "b", org_id=7)
        router.world["a"].latency_s = router.world["b"].latency_s = 0.05
        reading = asyncio.ensure_future(served_by(router, org_id=7))
        await pass_time(0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await pass_time(1.0)
        assert leases(router) == 0


# detection


async def swap(router: FakeAsyncRouter, name: str) -> None:
    """The next connection leads there."""
    router.world.lead_to(name)  # type: ignore[attr-defined]
    for conn in [*router.world["a"].connections, *router.world["b"].connections]:
        conn.cut()
    await pass_time(1.5)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "different servers" in r.getMessage()]


@in_virtual_time
async def test_an_address_that_goes_back_and_forth_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    async with endpoint(declared=False) as router:
        for name in ("a", "b", "a", "b", "a"):
            await swap(router, name)
        (said,) = warnings(caplog)
        assert said.startswith(ENDPOINT)
        assert "SHARED_ENDPOINT=true" in said
        assert router.topology.node(ENDPOINT).is_shared
        detail = {node.name: node.detail for node in router.explain().nodes}[ENDPOINT]
        assert detail is not None
        assert "several servers" in detail
        await wrote(router, 9000, "b", org_id=7)
        router.world.lead_to("a", "b")  # type: ignore[attr-defined]
        assert await served_by(router, org_id=7) == "b"


@in_virtual_time
async def test_the_connection_that_gives_it_away_is_checked_already() -> None:
    async with endpoint(declared=False) as router:
        await swap(router, "b")
        router.world.lead_to("a")  # type: ignore[attr-defined]
        await wrote(router, 2000, "b", org_id=7)
        await pass_time(1.5)
        assert router.explain(org_id=7).candidates == (ENDPOINT, "primary")
        assert await served_by(router, org_id=7) == "primary"
        assert router.topology.node(ENDPOINT).is_shared


@in_virtual_time
async def test_restarts_are_no_other_servers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with endpoint(declared=False, behind=("a",)) as router:
        for _ in range(5):
            router.world["a"].restart()
            await pass_time(2.0)
            assert await served_by(router) == "a"
        assert not warnings(caplog)
        assert not router.topology.node(ENDPOINT).is_shared


@in_virtual_time
async def test_explain_tells_that_its_connections_are_checked() -> None:
    async with endpoint() as router:
        told = router.explain(org_id=7)
        assert told.candidates == (ENDPOINT, "primary")
        assert "several servers" in str(told.nodes[1].detail)
