"""What callers see when a server dies, hangs or comes back, while sixteen of them read."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pgfleet import PrimaryUnavailable, ReplicaRouter
from pgfleet.core.node import Reason
from pgfleet.local import FaultProxy, LocalFleet
from pgfleet.testing import eventually_async
from tests.faces import FACES, PORT, Face, Router, environ, port

faces = pytest.mark.parametrize("face", FACES, ids=str)
REPLICAS = ("replica-1", "replica-2", "replica-3")
CALLERS = 16
PAUSE_S = 0.02


@pytest.fixture(autouse=True)
def mended(fleet: LocalFleet) -> Iterator[None]:
    """Whatever a test breaks is whole again for the next."""
    yield
    LocalFleet.up(fleet.directory)


class Load:
    """Callers of `fetch`, each beginning again when it is answered."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.answers: list[int] = []
        self.errors: list[BaseException] = []
        self.running = True

    async def call(self) -> None:
        while self.running:
            try:
                self.answers.append(await self.router.value(PORT))
            except Exception as error:
                self.errors.append(error)
            await asyncio.sleep(PAUSE_S)

    async def more(self, count: int = 100) -> set[int]:
        """Wait for so many further answers; the servers they came from."""
        seen = len(self.answers)

        async def answered() -> bool:
            return len(self.answers) >= seen + count

        await eventually_async(answered, within_s=20)
        return set(self.answers[seen:])


@asynccontextmanager
async def load(face: Face, env: dict[str, str]) -> AsyncIterator[Load]:
    """Sixteen callers at work; afterwards no lease is out."""
    async with face.open(env) as router:
        load = Load(router)
        callers = [asyncio.create_task(load.call()) for _ in range(CALLERS)]
        try:
            await load.more()
            yield load
        finally:
            load.running = False
            await asyncio.gather(*callers)
        assert sum(pool.active for pools in router.raw.pool_stats().values() for pool in pools) == 0


async def until_candidate(router: Router, name: str, wanted: bool = True) -> None:
    async def settled() -> bool:
        return (name in router.candidates()) is wanted

    await eventually_async(settled, within_s=20)


@faces
async def test_a_killed_replica_costs_no_read_and_comes_back(face: Face, fleet: LocalFleet) -> None:
    async with load(face, environ(fleet)) as reads:
        fleet.kill("replica-2")
        await until_candidate(reads.router, "replica-2", False)
        assert port(fleet, "replica-2") not in await reads.more()
        await asyncio.to_thread(fleet.start, "replica-2")
        await until_candidate(reads.router, "replica-2")
        assert port(fleet, "replica-2") in await reads.more()
    assert reads.errors == []


@faces
async def test_a_frozen_replica_costs_no_read_and_comes_back(face: Face, fleet: LocalFleet) -> None:
    async with load(face, environ(fleet)) as reads:
        fleet.freeze("replica-1")
        try:
            await until_candidate(reads.router, "replica-1", False)
            await reads.more()
        finally:
            fleet.thaw("replica-1")
        await until_candidate(reads.router, "replica-1")
        assert port(fleet, "replica-1") in await reads.more()
    assert reads.errors == []


@faces
async def test_without_any_replica_the_primary_answers_and_one_line_says_so(
    face: Face, fleet: LocalFleet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pgfleet")
    async with load(face, environ(fleet)) as reads:
        for name in REPLICAS:
            fleet.kill(name)
        for name in REPLICAS:
            await until_candidate(reads.router, name, False)
        assert await reads.more() == {port(fleet, "primary")}
    assert reads.errors == []
    lines = [
        r.getMessage() for r in caplog.records if r.getMessage().startswith("Read replica not available")
    ]
    assert len(lines) == 1
    assert all(name in lines[0] for name in REPLICAS)


@faces
async def test_reads_go_on_without_the_primary_and_writes_come_back_with_it(
    face: Face, fleet: LocalFleet
) -> None:
    async with load(face, environ(fleet)) as reads:
        fleet.kill("primary")
        with pytest.raises(PrimaryUnavailable, match="primary not answering"):
            await reads.router.execute("select 1", timeout_s=1.0)
        assert await reads.more() <= {port(fleet, name) for name in REPLICAS}
        write = asyncio.create_task(reads.router.execute("select 1"))
        await asyncio.to_thread(fleet.start, "primary")
        assert await write == "SELECT 1", "it waited"
    assert reads.errors == []


@faces
@pytest.mark.parametrize("faults", [("blackhole",), ("reset",), ("refuse", "reset")], ids="+".join)
async def test_a_broken_network_to_one_replica_costs_no_read(
    face: Face, fleet: LocalFleet, faults: tuple[str, ...]
) -> None:
    with FaultProxy("127.0.0.1", port(fleet, "replica-3")) as proxy:
        env = environ(fleet, READ_REPLICA_3_CONNECTION_STRING=proxy.dsn(fleet.dsn("replica-3")))
        async with load(face, env) as reads:
            for fault in faults:
                getattr(proxy, fault)()
            if faults != ("reset",):  # that ends connections, and new ones are welcome
                await until_candidate(reads.router, "replica-3", False)
            await reads.more()
            proxy.pass_through()
            await until_candidate(reads.router, "replica-3")
            assert port(fleet, "replica-3") in await reads.more()
        assert reads.errors == []


@faces
async def test_another_cluster_behind_a_replicas_address_is_refused(face: Face, fleet: LocalFleet) -> None:
    with LocalFleet.temporary(replicas=0) as other:
        env = environ(fleet, READ_REPLICA_2_CONNECTION_STRING=other.dsn("primary"))
        async with load(face, env) as reads:
            assert reads.router.reason("replica-2") == Reason.FOREIGN_CLUSTER
            assert not reads.router.raw.is_healthy("replica-2")
            assert port(other, "primary") not in await reads.more()
        assert reads.errors == []


def test_a_forked_worker_leaves_its_parents_connections_alone(fleet: LocalFleet) -> None:
    with ReplicaRouter.from_env(environ(fleet)) as router:
        with router.read() as conn:
            mine = conn.info.backend_pid
            child = os.fork()
            if child == 0:
                os._exit(_in_child(router, mine))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert conn.execute("select 1").fetchone() == (1,)
        assert router.fetch("select 1") == [(1,)]


def _in_child(router: ReplicaRouter[Any], parents: int) -> int:
    """0 when the worker reads and writes on connections of its own."""
    try:
        with router.read() as conn:
            apart = conn.info.backend_pid != parents
        return 0 if apart and router.fetch("select 1") == [(1,)] and router.execute("select 1") else 1
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 2
