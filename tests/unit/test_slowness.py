"""A replica that is much slower than the others leaves the rotation, is tried, and comes back slowly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from pgfleet.core.ejection import Phase
from tests.fakes import (
    FakeAsyncRouter,
    fleet_settings,
    fleet_world,
    in_virtual_time,
    leases,
    pass_time,
    settle,
)

CLEAN = "select 1"
LONG = "select pg_sleep(5)"
EJECTED = "is much slower than the others"


@contextlib.asynccontextmanager
async def fleet(
    replicas: int = 3, latency_s: float = 0.001, **options: Any
) -> AsyncIterator[FakeAsyncRouter]:
    world = fleet_world(replicas)
    for server in world.servers.values():
        server.latency_s = latency_s
    async with FakeAsyncRouter(world, fleet_settings(replicas, **options)) as router:
        yield router
        await settle()
        assert leases(router) == 0


class Callers:
    """Callers of `fetch` (or of `read`), for as long as the block runs."""

    def __init__(self, router: FakeAsyncRouter, sql: str = CLEAN, *, blocks: bool = False) -> None:
        self.answers: Counter[str] = Counter()
        self._router, self._sql, self._blocks = router, sql, blocks
        self._running = True

    async def __aenter__(self) -> Callers:
        self._tasks = [asyncio.ensure_future(self._call()) for _ in range(6)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        await asyncio.gather(*self._tasks)

    async def _call(self) -> None:
        while self._running:
            self.answers[await self._read()] += 1
            await pass_time(0.01)

    async def _read(self) -> str:
        if not self._blocks:
            ((name,),) = await self._router.fetch(self._sql)
            return str(name)
        async with self._router.read() as conn:
            return conn.server.name

    async def shares(self, seconds: float) -> dict[str, float]:
        """Of the reads of the next seconds, each node's part."""
        self.answers.clear()
        await pass_time(seconds)
        return {name: count / self.answers.total() for name, count in self.answers.items()}


def reasons(router: FakeAsyncRouter) -> dict[str, str | None]:
    return {node.name: node.reason for node in router.explain().nodes if node.name != "primary"}


def phase(router: FakeAsyncRouter, name: str) -> Phase:
    return router.topology.node(name).standing.phase


async def becomes(router: FakeAsyncRouter, name: str, wanted: Phase, within_s: float) -> float:
    """How long it took."""
    began_s = asyncio.get_running_loop().time()
    while phase(router, name) is not wanted:
        await pass_time(0.01)
        assert asyncio.get_running_loop().time() - began_s <= within_s, phase(router, name)
    return asyncio.get_running_loop().time() - began_s


# a slow one


@in_virtual_time
async def test_a_slow_replica_leaves_and_comes_back_when_it_is_well(caplog: pytest.LogCaptureFixture) -> None:
    async with fleet() as router, Callers(router) as callers:
        await pass_time(2.0)
        router.world["replica-2"].latency_s = 0.03
        await becomes(router, "replica-2", Phase.EJECTED, 2.0)
        assert reasons(router) == {"replica-1": None, "replica-2": EJECTED, "replica-3": None}
        assert router.is_healthy("replica-2"), "it answers, and follows"
        (shown,) = (node for node in router.explain().nodes if node.name == "replica-2")
        assert shown.detail == "half of its answers take 30 ms, of the others' 1 ms"
        shares = await callers.shares(30.0)
        assert shares.get("replica-2", 0.0) < 0.01
        router.world["replica-2"].latency_s = 0.001
        await becomes(router, "replica-2", Phase.SERVING, 40.0)
        assert (await callers.shares(3.0))["replica-2"] == pytest.approx(1 / 3, abs=0.02)
        assert sum(EJECTED in record.message for record in caplog.records) == 1


@in_virtual_time
async def test_it_is_tried_by_single_reads_and_goes_for_longer_each_time() -> None:
    async with fleet() as router, Callers(router) as callers:
        router.world["replica-2"].latency_s = 0.03
        lasted, tried = [], []
        for _ in range(4):
            await becomes(router, "replica-2", Phase.EJECTED, 30.0)
            lasted.append(await becomes(router, "replica-2", Phase.ON_TRIAL, 30.0))
            callers.answers.clear()
            await becomes(router, "replica-2", Phase.EJECTED, 2.0)
            tried.append(callers.answers["replica-2"])
        for nth, seconds in enumerate(lasted):
            assert 0.75 * 2**nth <= seconds <= 1.25 * 2**nth + 0.2
        assert tried == [3, 3, 3, 3]


@in_virtual_time
async def test_a_trial_that_takes_long_is_the_only_one() -> None:
    async with fleet() as router, Callers(router):
        router.world["replica-2"].latency_s = 0.03
        await becomes(router, "replica-2", Phase.EJECTED, 3.0)
        router.world["replica-2"].takes_s[CLEAN] = 4.0
        await becomes(router, "replica-2", Phase.ON_TRIAL, 3.0)
        for _ in range(60):
            await pass_time(0.1)
            reads, _ = router.pool_stats()["replica-2"]
            assert reads.active <= 1
        router.world["replica-2"].takes_s.clear()


@in_virtual_time
async def test_of_two_replicas_the_slower_goes_and_of_one_none() -> None:
    async with fleet(2) as router, Callers(router):
        router.world["replica-1"].latency_s = 0.03
        await becomes(router, "replica-1", Phase.EJECTED, 3.0)
    async with fleet(1) as router, Callers(router) as callers:
        router.world["replica-1"].latency_s = 0.03
        assert await callers.shares(5.0) == {"replica-1": 1.0}


@in_virtual_time
async def test_a_slow_replica_serves_again_when_too_few_others_are_left() -> None:
    async with fleet() as router, Callers(router) as callers:
        router.world["replica-2"].latency_s = 0.03
        await becomes(router, "replica-2", Phase.EJECTED, 3.0)
        router.world["replica-1"].crash()
        await pass_time(0.1)
        assert set(router.explain().candidates) == {"replica-2", "replica-3", "primary"}
        router.world["replica-3"].crash()
        assert set(await callers.shares(5.0)) == {"replica-2"}


@in_virtual_time
async def test_only_so_many_may_go() -> None:
    async with fleet(5) as router, Callers(router):
        for number in (1, 2, 3):
            router.world[f"replica-{number}"].latency_s = 0.03 * 6**number
        for _ in range(300):
            await pass_time(0.1)
            out = [name for name in reasons(router) if router.topology.node(name).standing.is_out]
            assert len(out) <= 2
        for server in router.world.servers.values():
            server.latency_s = 0.0


@in_virtual_time
async def test_a_panic_share_of_one_ejects_nobody() -> None:
    async with fleet(panic_share=1.0) as router, Callers(router) as callers:
        router.world["replica-2"].latency_s = 0.03
        assert (await callers.shares(10.0))["replica-2"] == pytest.approx(1 / 3, abs=0.02)
        assert phase(router, "replica-2") is Phase.SERVING


@in_virtual_time
async def test_a_replica_on_which_every_statement_hangs_is_slow_before_one_is_answered() -> None:
    """Its probes are answered, so it is not silent: its disk has stopped."""
    async with (
        fleet(node={"max_connections": 20}) as router,
        Callers(router),
        Callers(router),
        Callers(router),
    ):
        await pass_time(3.0)
        router.world["replica-2"].takes_s[CLEAN] = 20.0
        await becomes(router, "replica-2", Phase.EJECTED, 3.0)
        router.world["replica-2"].takes_s.clear()


@in_virtual_time
async def test_where_nobody_uses_fetch_the_probes_tell() -> None:
    async with fleet() as router, Callers(router, blocks=True) as callers:
        await pass_time(2.0)
        router.world["replica-2"].latency_s = 0.03
        await becomes(router, "replica-2", Phase.EJECTED, 12.0)
        router.world["replica-2"].latency_s = 0.001
        await becomes(router, "replica-2", Phase.SERVING, 6.0)
        assert (await callers.shares(3.0))["replica-2"] == pytest.approx(1 / 3, abs=0.02)


@in_virtual_time
async def test_a_replica_is_trusted_where_nobody_reads_at_all() -> None:
    async with fleet(health_check_interval_s=30.0) as router:
        async with Callers(router):
            router.world["replica-2"].latency_s = 0.03
            await becomes(router, "replica-2", Phase.EJECTED, 3.0)
        await becomes(router, "replica-2", Phase.SERVING, 15.0)


@in_virtual_time
async def test_a_strict_read_takes_a_slow_replica_before_the_primary() -> None:
    async with fleet(2) as router, Callers(router):
        router.world["replica-1"].latency_s = 0.03
        await becomes(router, "replica-1", Phase.EJECTED, 3.0)
        router.world["primary"].insert_lsn = router.world["primary"].flush_lsn = 2000
        router.world["replica-1"].replay_lsn = 2000
        await router.engine._watcher.refresh(("primary",), 0.1)
        await router.engine._watcher.refresh(("replica-1", "replica-2"), 0.1)
        await pass_time(1.0)
        candidates = router.explain(max_lag_s=0.9).candidates
        assert set(candidates) <= {"replica-1", "primary"}


# none that is slow


@in_virtual_time
@pytest.mark.parametrize("latencies", [(0.001, 0.001, 0.001), (0.001, 0.002, 0.009), (0.05, 0.08, 0.12)])
async def test_replicas_that_differ_a_little_stay_even(latencies: tuple[float, ...]) -> None:
    async with fleet() as router, Callers(router) as callers:
        for number, latency_s in enumerate(latencies, 1):
            router.world[f"replica-{number}"].latency_s = latency_s
        await pass_time(2.0)
        shares = await callers.shares(20.0)
        assert all(0.25 <= share <= 0.42 for share in shares.values())
        assert len(shares) == 3


@in_virtual_time
async def test_long_statements_of_one_caller_make_no_replica_slow() -> None:
    async with fleet() as router, Callers(router) as callers:
        for server in router.world.servers.values():
            server.takes_s[LONG] = 5.0
        for _ in range(3):
            await asyncio.gather(*(router.fetch(LONG) for _ in range(2)))
        assert set(reasons(router).values()) == {None}
        assert len(callers.answers) == 3


# coming back


@in_virtual_time
async def test_a_replica_that_comes_back_begins_with_a_small_part() -> None:
    async with fleet() as router, Callers(router) as callers:
        await pass_time(2.0)
        router.world["replica-2"].crash()
        await pass_time(1.0)
        router.world["replica-2"].restart()
        await becomes(router, "replica-2", Phase.WARMING, 0.5)
        parts = [(await callers.shares(0.3)).get("replica-2", 0.0) for _ in range(5)]
        assert 0 < parts[0] < 0.2, "its first reads come at once, and are few"
        assert parts == sorted(parts)
        assert parts[-1] == pytest.approx(1 / 3, abs=0.05)


@in_virtual_time
async def test_the_only_replica_serves_all_reads_from_the_first_on() -> None:
    async with fleet(1) as router, Callers(router) as callers:
        router.world["replica-1"].crash()
        await pass_time(1.0)
        router.world["replica-1"].restart()
        await becomes(router, "replica-1", Phase.WARMING, 0.5)
        await pass_time(0.05)
        assert await callers.shares(0.2) == {"replica-1": 1.0}


@pytest.fixture(autouse=True)
def all_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, "pgfleet"):
        yield
