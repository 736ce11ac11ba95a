"""Servers that neither serve nor die: frozen ones, and one that is much slower than the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from pgfleet.core.node import Reason
from pgfleet.local import FaultProxy, LocalFleet
from tests.faces import FACES, Face, Router, aside, environ, port
from tests.fault.load import becomes, load

pytestmark = pytest.mark.parametrize("face", FACES, ids=str)
REPLICAS = ("replica-1", "replica-2", "replica-3")
SLOW = "select pg_sleep(5), 'runs once'"
RUNNING = "select pid from pg_stat_activity where query = $$" + SLOW + "$$ and state = 'active'"
RARE = "30000"
"""Between probes that nobody asks for: what is found sooner was found by the attempts."""


@pytest.fixture(autouse=True)
def mended(fleet: LocalFleet) -> Iterator[None]:
    """Whatever a test breaks is whole again for the next."""
    yield
    LocalFleet.up(fleet.directory)


async def is_out(router: Router, name: str, reason: Reason) -> None:
    await becomes(lambda: router.reason(name) == reason)


async def test_a_slow_statement_runs_once_while_another_replica_is_frozen(
    face: Face, fleet: LocalFleet
) -> None:
    settings = environ(fleet, REPLICA_HEALTH_CHECK_INTERVAL=RARE)
    async with face.open(settings) as router, load(fleet, router) as seen:
        assert set(await seen.after(60)) == set(REPLICAS)
        await aside(fleet.freeze, "replica-3")
        try:
            await is_out(router, "replica-3", Reason.UNREACHABLE)
            slow = asyncio.create_task(router.fetch(SLOW))
            runs = set()
            while not slow.done():
                runs |= await aside(_runs, fleet)
                await asyncio.sleep(0.1)
            assert len(await slow) == len(runs) == 1
            assert set(await seen.after(100)) == {"replica-1", "replica-2"}
        finally:
            await aside(fleet.thaw, "replica-3")
        await becomes(lambda: seen.answers["replica-3"] > 0)


def _runs(fleet: LocalFleet) -> set[tuple[object, ...]]:
    """The backends that run the slow statement, of the replicas that answer. To prepare it is a query of its own."""
    found = set()
    for name in ("replica-1", "replica-2"):
        with psycopg.connect(fleet.dsn(name)) as conn:
            found |= {(name, *row) for row in conn.execute(RUNNING)}
    return found


async def test_nobody_hangs_in_a_block_on_a_frozen_replica(face: Face, fleet: LocalFleet) -> None:
    settings = environ(fleet, REPLICA_HEALTH_CHECK_INTERVAL=RARE)
    async with face.open(settings) as router:
        async with router.read() as conn:
            assert await conn.value("select 1") == 1
            ours = await conn.value("select inet_server_port()")
            (name,) = (name for name in fleet.names if port(fleet, name) == ours)
            await aside(fleet.freeze, name)
            try:
                with pytest.raises(Exception, match=r".") as failed:
                    await asyncio.wait_for(conn.value("select 1"), 30.0)
                assert not isinstance(failed.value, TimeoutError), "it was cut by nobody but this test"
                await is_out(router, name, Reason.UNREACHABLE)
            finally:
                await aside(fleet.thaw, name)
        await becomes(lambda: router.raw.is_healthy(name))


async def test_a_slow_replica_leaves_the_rotation_and_comes_back(face: Face, fleet: LocalFleet) -> None:
    with FaultProxy("127.0.0.1", port(fleet, "replica-2")) as proxy:
        env = environ(fleet, READ_REPLICA_2_CONNECTION_STRING=proxy.dsn(fleet.dsn("replica-2")))
        async with face.open(env) as router, load(fleet, router) as seen:
            assert set(await seen.after(60)) == set(REPLICAS)
            proxy.delay(0.05)
            await is_out(router, "replica-2", Reason.EJECTED)
            assert router.raw.is_healthy("replica-2")
            answers = await seen.after(300)
            assert answers["replica-2"] < 0.2 * answers.total()
            proxy.pass_through()
            await becomes(lambda: router.reason("replica-2") is None, 60.0)
            assert set(await seen.after(300)) == set(REPLICAS)
