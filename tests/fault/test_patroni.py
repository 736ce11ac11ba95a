"""A real Patroni on a real etcd: its members are found, and followed through a switchover and a dead leader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from pgfleet import PrimaryUnavailable
from pgfleet.core.membership import Found
from pgfleet.discovery.patroni import Patroni
from pgfleet.errors import DiscoveryError
from pgfleet.runtimes import TaskRuntime, ThreadRuntime, drive
from tests.faces import FACES, PORT, Router, aside
from tests.fault.load import Load, becomes, load_on
from tests.patroni import REST_PASSWORD, REST_USER, PatroniCluster, patroni_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[PatroniCluster]:
    """One for all tests here: each leaves it whole."""
    with patroni_cluster() as cluster:
        yield cluster


async def find(cluster: PatroniCluster) -> Sequence[Found]:
    return await Patroni(cluster.urls, TaskRuntime()).find()


def test_every_member_is_found_also_by_threads(cluster: PatroniCluster) -> None:
    found = drive(Patroni(cluster.urls, ThreadRuntime()).find())
    expected = {(m.name, "127.0.0.1", m.port, True) for m in cluster.members.values()}
    assert {(server.name, server.host, server.port, server.takes_reads) for server in found} == expected


async def test_one_member_that_answers_is_enough(cluster: PatroniCluster) -> None:
    member = next(iter(cluster.members.values()))
    secret = f"http://{REST_USER}:{REST_PASSWORD}@127.0.0.1:{member.rest_port}"
    found = await Patroni(f"http://127.0.0.1:1,{secret},http://127.0.0.1:{member.port}", TaskRuntime()).find()
    assert {server.name for server in found} == set(cluster.members)


async def test_a_url_that_is_no_patroni_is_one_clear_error(cluster: PatroniCluster) -> None:
    member = next(iter(cluster.members.values()))
    places = ("http://127.0.0.1:1", f"http://127.0.0.1:{member.port}")
    with pytest.raises(DiscoveryError) as caught:
        await Patroni(",".join(places), TaskRuntime()).find()
    assert all(f"{place}: " in caught.value.message for place in places)


async def until_found(cluster: PatroniCluster, expected: dict[str, bool]) -> None:
    """Wait until these members are found, each taking reads or not."""
    async with asyncio.timeout(60):
        while {server.name: server.takes_reads for server in await find(cluster)} != expected:
            await asyncio.sleep(0.1)


def environ(cluster: PatroniCluster) -> dict[str, str]:
    """One member's address, and who knows the others. It is a follower's: roles are not what a setting says."""
    return {
        "DATABASE_URL": cluster.members[min(cluster.streaming())].dsn,
        "USE_READ_REPLICAS": "true",
        "DB_MIN_CONNECTIONS": "0",
        "PGFLEET_DISCOVERY": f"patroni:{cluster.urls}",
    }


@asynccontextmanager
async def routers_under_load(cluster: PatroniCluster) -> AsyncIterator[list[tuple[Router, Load]]]:
    """A router of each face, all at work at once: a failover takes longer than what they do in it."""
    await aside(cluster.settled)
    env = await aside(environ, cluster)
    names = {member.port: name for name, member in cluster.members.items()}
    async with AsyncExitStack() as stack:
        routers = []
        for face in FACES:
            router = await stack.enter_async_context(face.open(env))
            await stack.enter_async_context(asynccontextmanager(_writer)(router))
            routers.append((router, await stack.enter_async_context(load_on(names, router))))
        yield routers


async def _writer(router: Router) -> AsyncIterator[None]:
    """A caller that writes all the time; what its writes meet while the primary moves is another test's matter."""

    async def write() -> None:
        while True:
            try:
                await router.execute("select pg_current_xact_id()")
            except Exception:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(write())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def writes_to(router: Router, port: int) -> None:
    """Wait until writes reach this server."""

    async def reached() -> bool:
        try:
            async with router.write() as conn:
                return bool(await conn.value(PORT) == port)
        except PrimaryUnavailable:
            return False

    async with asyncio.timeout(30):
        while not await reached():
            await asyncio.sleep(0.05)


async def reads_reach(seen: Load, names: set[str]) -> None:
    """Wait until these servers and no others answer reads."""
    async with asyncio.timeout(60):
        while set(await seen.after(50)) != names:
            pass


def listed(router: Router) -> set[str]:
    """The members that the router has by discovery, beside that of DATABASE_URL."""
    return {node.name for node in router.raw.topology.nodes[1:]}


async def test_noloadbalance_keeps_reads_away_and_nofailover_does_not(cluster: PatroniCluster) -> None:
    async with routers_under_load(cluster) as routers:
        spared = max(cluster.streaming())
        followers = set(cluster.members) - {await aside(cluster.settled)}
        for _, seen in routers:
            await reads_reach(seen, followers)
        await aside(cluster.tag, spared, noloadbalance=True)
        for router, seen in routers:
            await reads_reach(seen, followers - {spared})
            assert spared in listed(router)
        await aside(cluster.tag, spared, nofailover=True)
        for _, seen in routers:
            await reads_reach(seen, followers)
    await aside(cluster.tag, spared)


async def test_a_switchover_under_load_loses_no_read(cluster: PatroniCluster) -> None:
    async with routers_under_load(cluster) as routers:
        candidate = sorted(cluster.streaming())[0]
        for _, seen in routers:
            await seen.after(50)
        await aside(cluster.switchover, candidate)
        for router, seen in routers:
            await writes_to(router, cluster.members[candidate].port)
            await reads_reach(seen, set(cluster.members) - {candidate})


async def test_a_killed_leader_loses_no_read_and_writes_go_to_the_next(cluster: PatroniCluster) -> None:
    async with routers_under_load(cluster) as routers:
        dead = await aside(cluster.settled)
        await aside(cluster.members[dead].kill)
        for _, seen in routers:
            assert dead not in await seen.after(100)
        leader = await aside(cluster.settled, without=dead)
        for router, seen in routers:
            await writes_to(router, cluster.members[leader].port)
            await reads_reach(seen, set(cluster.members) - {dead, leader})
        everybody = dict.fromkeys(cluster.members, True)
        await until_found(cluster, {name: True for name in everybody if name != dead})
        for router, _ in routers:
            await becomes(lambda router=router: dead not in listed(router))  # type: ignore[misc]
        cluster.members[dead].start()
        await aside(cluster.settled)
        await until_found(cluster, everybody)
        for _, seen in routers:
            await reads_reach(seen, set(cluster.members) - {leader})
        assert all(dead in listed(router) for router, _ in routers)
