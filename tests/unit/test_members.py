"""Nodes join, are drained and leave while callers read: in virtual time, over a world without a network."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pgfleet.core.membership import Member
from pgfleet.core.topology import Topology
from pgfleet.errors import DrainRefused, DrainTimeout, UnknownNode
from pgfleet.settings import NodeSettings, Settings
from tests.fakes import (
    FakeAsyncRouter,
    FakeServer,
    FakeThreadRouter,
    World,
    dsn,
    fleet_settings,
    fleet_world,
    in_virtual_time,
    leases,
    pass_time,
    settle,
)


@asynccontextmanager
async def opened(world: World, settings: Settings) -> AsyncIterator[FakeAsyncRouter]:
    async with FakeAsyncRouter(world, settings) as router:
        yield router
        assert leases(router) == 0


def extra(name: str, host: str = "", **values: object) -> NodeSettings:
    node = NodeSettings(name, dsn(host or name), max_connections=4, min_connections=0)
    return replace(node, **values)  # type: ignore[arg-type]


def world_of(replicas: int = 3, *names: str) -> World:
    world = fleet_world(replicas)
    for name in names:
        world.servers[name] = FakeServer(name)
    for server in world.servers.values():
        server.latency_s = 0.005
    return world


@dataclass
class Load:
    """Callers that read without a pause, and what they saw."""

    router: FakeAsyncRouter
    answers: Counter[str] = field(default_factory=Counter)
    done: bool = False

    async def read(self) -> None:
        while not self.done:
            ((name,),) = await self.router.fetch("q")
            self.answers[name] += 1

    async def of(self, seconds: float) -> Counter[str]:
        """Who answered in the next so many seconds."""
        self.answers.clear()
        await pass_time(seconds)
        return +self.answers


@asynccontextmanager
async def load(router: FakeAsyncRouter, callers: int = 8) -> AsyncIterator[Load]:
    """Ends with the error of any caller that met one."""
    load = Load(router)
    tasks = [asyncio.ensure_future(load.read()) for _ in range(callers)]
    try:
        yield load
    finally:
        load.done = True
        await asyncio.gather(*tasks)


def pools_of(router: FakeAsyncRouter, name: str) -> tuple[int, int]:
    reads, _ = router.pool_stats()[name]
    return reads.active, reads.idle


@in_virtual_time
async def test_a_new_replica_takes_its_share() -> None:
    settings, world = fleet_settings(2), world_of(2, "replica-9")
    async with opened(world, settings) as router, load(router) as seen:
        assert set(await seen.of(1.0)) == {"replica-1", "replica-2"}
        router.engine.members.become((*settings.replicas, extra("replica-9")))
        assert [node.name for node in router.topology.nodes][-1] == "replica-9"
        await pass_time(3.0)
        shares = await seen.of(2.0)
        assert min(shares.values()) > 0.8 * max(shares.values())
        assert set(shares) == {"replica-1", "replica-2", "replica-9"}


@in_virtual_time
async def test_one_that_is_not_there_yet_is_watched_until_it_is() -> None:
    settings, world = fleet_settings(1), world_of(1, "replica-9")
    world["replica-9"].crash()
    async with opened(world, settings) as router:
        router.engine.members.become((*settings.replicas, extra("replica-9")))
        await pass_time(1.0)
        assert not router.is_healthy("replica-9")
        world["replica-9"].restart()
        await pass_time(1.0)
        assert "replica-9" in router.explain().candidates


@in_virtual_time
async def test_a_drained_one_loses_no_read_and_gets_no_more() -> None:
    async with opened(world_of(), fleet_settings()) as router, load(router) as seen:
        await seen.of(1.0)
        await router.drain("replica-2")
        assert pools_of(router, "replica-2") == (0, 0)
        assert set(await seen.of(1.0)) == {"replica-1", "replica-3"}
        explained = {node.name: node.reason for node in router.explain().nodes}
        assert explained["replica-2"] == "is being drained"
        assert router.is_healthy("replica-2"), "it is watched on"
        router.undrain("replica-2")
        assert set(await seen.of(1.0)) == {"replica-1", "replica-2", "replica-3"}


@in_virtual_time
async def test_draining_waits_for_what_is_lent_and_says_what_is_still_out() -> None:
    async with opened(world_of(1), fleet_settings(1)) as router:
        async with router.read() as conn:
            with pytest.raises(DrainTimeout, match=r"1 connection is still lent at replica-1 after 2 s"):
                await router.drain("replica-1", timeout_s=2.0)
            assert conn.alive
            waiting = asyncio.ensure_future(router.drain("replica-1"))
            await pass_time(5.0)
            assert not waiting.done()
        await waiting
        assert pools_of(router, "replica-1") == (0, 0)


@in_virtual_time
async def test_whoever_stands_in_line_there_is_served_elsewhere() -> None:
    settings = fleet_settings(1, node={"max_connections": 1})
    async with opened(world_of(1), settings) as router:
        async with router.read():
            ((waiting),) = (asyncio.ensure_future(router.fetch("q")),)
            await pass_time(0.5)
            assert not waiting.done()
            drained = asyncio.ensure_future(router.drain("replica-1"))
            await pass_time(0.5)
            assert waiting.result() == [("primary",)]
        await drained


@in_virtual_time
async def test_a_read_that_comes_to_a_pool_that_has_closed_goes_elsewhere() -> None:
    settings = fleet_settings(1)
    async with opened(world_of(1), settings) as router:
        node = router.engine.board.nodes["replica-1"]
        for pool in node.pools:
            await pool.close()  # it was removed between the plan and the connection
        reading = asyncio.ensure_future(router.fetch("q"))
        await pass_time(0.2)
        router.engine.members.become(())
        assert await reading == [("primary",)]


@in_virtual_time
async def test_the_primary_and_the_unknown_are_refused() -> None:
    world = world_of(1)
    async with opened(world, fleet_settings(1)) as router:
        with pytest.raises(DrainRefused, match="it is the node of DATABASE_URL"):
            await router.drain("primary")
        with pytest.raises(UnknownNode) as caught:
            await router.drain("replica-7")
        assert caught.value.hint == "The nodes are primary, replica-1."
        with pytest.raises(UnknownNode):
            router.undrain("replica-7")
        world["primary"].crash()
        world["replica-1"].in_recovery, world["replica-1"].timeline = False, 2
        await pass_time(2.0)
        assert router.topology.primary_name == "replica-1"
        with pytest.raises(DrainRefused, match="it takes the writes now"):
            await router.drain("replica-1")


@in_virtual_time
async def test_a_removed_one_stays_listed_until_nothing_is_lent_there() -> None:
    settings = fleet_settings(2)
    async with opened(world := world_of(2), settings) as router:
        async with router.read() as conn:
            name = conn.server.name
            router.engine.members.become([node for node in settings.replicas if node.name != name])
            await pass_time(5.0)
            assert [node.name for node in router.topology.nodes][-1] == name
            assert conn.alive
        await pass_time(1.0)
        assert name not in [node.name for node in router.topology.nodes]
        assert name not in router.pool_stats()
        await pass_time(1.0)
        assert not world[name].connections, "its probe has ended, too"


@in_virtual_time
async def test_one_that_was_drained_before_leaves_too() -> None:
    settings = fleet_settings(2)
    first, second = settings.replicas
    async with opened(world_of(2), settings) as router:
        router.engine.members.become((first, replace(second, draining=True)))
        await router.drain("replica-2")
        router.engine.members.become((first,))
        await pass_time(1.0)
        assert "replica-2" not in router.pool_stats()
        router.engine.members.become((first, second))
        await pass_time(1.0)
        assert "replica-2" in router.explain().candidates, "the drain by hand went with it"


@in_virtual_time
async def test_under_load_nodes_come_and_go_and_no_read_is_lost() -> None:
    settings, world = fleet_settings(3), world_of(3, "replica-9")
    first, second, third = settings.replicas
    async with opened(world, settings) as router, load(router) as seen:
        for replicas in ((first,), (first, third), (extra("replica-9"),), (second, extra("replica-9"))) * 3:
            router.engine.members.become(replicas)
            await pass_time(1.5)
            assert set(await seen.of(0.5)) == {node.name for node in replicas}
        router.engine.members.become(())
        await pass_time(1.0)
        assert set(await seen.of(0.5)) == {"primary"}
        assert not router.has_replicas()


@in_virtual_time
async def test_another_server_of_the_same_name_takes_its_place() -> None:
    settings, world = fleet_settings(2), world_of(2, "new")
    async with opened(world, settings) as router, load(router) as seen:
        moved = extra("replica-2", "new")
        async with router.read() as conn:
            router.engine.members.become((settings.replicas[0], moved))
            await pass_time(1.0)
            assert set(await seen.of(0.5)) == {"replica-1"} | ({"new"} if "1" in conn.server.name else set())
        await pass_time(2.0)
        assert set(await seen.of(0.5)) == {"replica-1", "new"}
        assert not world["replica-2"].connections


@in_virtual_time
async def test_a_lease_without_end_keeps_a_removed_node_for_a_minute_and_is_not_cut() -> None:
    settings = fleet_settings(1)
    async with opened(world_of(1), settings) as router:
        async with router.read() as conn:
            router.engine.members.become(())
            await pass_time(settings.query_timeout_s + 2.0)
            assert "replica-1" not in router.pool_stats()
            assert conn.alive
        assert not conn.alive


@in_virtual_time
async def test_an_error_on_a_node_that_is_gone_says_nothing_of_its_successor() -> None:
    settings = fleet_settings(1)
    async with opened(world_of(1, "new"), settings) as router:
        lease = router.read()
        conn = await lease.__aenter__()
        router.engine.members.become((extra("replica-1", "new"),))
        await pass_time(settings.query_timeout_s + 2.0)
        conn.cut()
        error = conn.server.refuses or ConnectionResetError("gone")
        await lease.__aexit__(type(error), error, None)
        await settle()
        assert router.is_healthy("replica-1")


@in_virtual_time
async def test_with_replicas_disabled_nobody_is_watched_or_read_from() -> None:
    settings = fleet_settings(1, use_replicas=False)
    async with opened(world := world_of(1, "new"), settings) as router:
        router.engine.members.become((extra("new"),))
        await pass_time(2.0)
        assert [node.name for node in router.topology.nodes] == ["primary", "new"]
        assert await router.fetch("q") == [("primary",)]
        assert not world["new"].connections
        assert not router.has_replicas()


@in_virtual_time
async def test_who_asked_about_a_node_that_leaves_at_that_moment_does_not_wait_in_vain() -> None:
    async with opened(world_of(1), fleet_settings(1)) as router:
        await pass_time(0.5)
        watcher: Any = router.engine._watcher
        told = watcher.ask("replica-1")
        watcher.end("replica-1")
        assert await told.wait(0.1)


@in_virtual_time
async def test_whoever_asks_of_a_node_that_is_just_joining_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As another thread may: the nodes are replaced, and the topology a moment later."""
    become, settings = Topology.become, fleet_settings(1)
    async with opened(world_of(1, "new"), settings) as router:
        board = router.engine.board

        def look(topology: Topology, members: Sequence[Member]) -> Topology:
            assert [board.state(node).name for node in board.nodes.values()][-1] == "new"
            return become(topology, members)

        monkeypatch.setattr(Topology, "become", look)
        router.engine.members.become((*settings.replicas, extra("new")))


@in_virtual_time
async def test_a_weight_changes_in_place() -> None:
    settings = fleet_settings(2)
    first, second = settings.replicas
    async with opened(world_of(2), settings) as router, load(router, callers=2) as seen:
        await seen.of(1.0)
        opened_before = {name: router.world[name].opened for name in ("replica-1", "replica-2")}
        router.engine.members.become((first, replace(second, weight=4)))
        shares = await seen.of(2.0)
        assert shares["replica-2"] > 2 * shares["replica-1"]
        assert router.world["replica-1"].opened == opened_before["replica-1"]


@in_virtual_time
async def test_a_leaving_node_that_was_promoted_stays_while_it_takes_the_writes() -> None:
    settings, world = fleet_settings(1), world_of(1)
    async with opened(world, settings) as router:
        world["primary"].crash()
        world["replica-1"].in_recovery, world["replica-1"].timeline = False, 2
        await pass_time(2.0)
        router.engine.members.become(())
        await pass_time(200.0)
        assert await router.execute("insert") == "DONE"
        world["primary"].restart()
        world["primary"].timeline = 3
        world["replica-1"].crash()
        await pass_time(5.0)
        assert "replica-1" not in router.pool_stats()
        assert await router.execute("insert") == "DONE"


def test_threads_drain_alike() -> None:
    with FakeThreadRouter(fleet_world(2), fleet_settings(2)) as router:
        with router.read() as conn, pytest.raises(DrainTimeout):
            router.drain(conn.server.name, timeout_s=0.0)
        router.drain(conn.server.name)
        assert {router.fetch_value("q") for _ in range(4)} == {"replica-1", "replica-2"} - {conn.server.name}
        router.undrain(conn.server.name)
        assert {router.fetch_value("q") for _ in range(4)} == {"replica-1", "replica-2"}
