"""Hedged reads: the engine in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pgfleet import ReadTimeout
from pgfleet.core.ejection import Phase, Standing
from pgfleet.core.hedge import BURST, FEWEST_TIMES
from pgfleet.core.intent import PLAIN
from pgfleet.engine.second import PATIENCE_S
from tests.fakes import (
    FakeAsyncRouter,
    FakeError,
    in_virtual_time,
    leases,
    lost,
    pass_time,
    settle,
    sql_error,
)
from tests.unit.test_engine import CLEAN, fetched, fleet

USUAL_S = 0.001


@asynccontextmanager
async def hedging(replicas: int = 3, **options: Any) -> AsyncIterator[FakeAsyncRouter]:
    """A fleet whose router knows how long its statement takes, and has connections everywhere."""
    async with fleet(replicas, **{"hedge": True, **options}) as router:
        for server in router.world.servers.values():
            server.latency_s = USUAL_S
        for _ in range(FEWEST_TIMES * 2):
            await router.fetch(CLEAN, hedge=True)
        router.world.trace.clear()
        yield router
        await pass_time(1.5)
        for server in router.world.servers.values():
            server.latency_s = 0.0
            server.silent = False


def now_s() -> float:
    return asyncio.get_running_loop().time()


def slow(router: FakeAsyncRouter, *names: str, latency_s: float = 10.0) -> None:
    for name in names:
        router.world[name].latency_s = latency_s


async def worst_of(router: FakeAsyncRouter, count: int, **options: Any) -> tuple[float, Counter[str]]:
    """The longest of so many reads one after the other, and who answered."""
    worst_s, answers = 0.0, Counter[str]()
    for _ in range(count):
        began_s = now_s()
        ((name,),) = await router.fetch(CLEAN, **options)
        worst_s = max(worst_s, now_s() - began_s)
        answers[name] += 1
    return worst_s, answers


@in_virtual_time
async def test_a_read_on_a_slow_replica_is_answered_by_another_in_milliseconds() -> None:
    async with hedging() as router:
        slow(router, "replica-2", latency_s=0.2)
        worst_s, answers = await worst_of(router, 30)
        assert worst_s < 0.01
        assert answers["primary"] == answers["replica-2"] == 0
        await pass_time(2.0)
        steps = Counter(what for server, what, *_ in router.world.trace if server == "replica-2")
        assert steps["fetch"] == steps["reset"] > 0, "its server stopped in time: the connection is kept"
        assert steps["drop"] == steps["sever"] == 0


@in_virtual_time
async def test_a_loser_that_does_not_stop_loses_its_connection() -> None:
    async with hedging(2) as router:
        router.world["replica-1"].silent = True
        for _ in range(2):
            await router.fetch(CLEAN)
        assert leases(router) == 1, "until a second has passed"
        await pass_time(1.1)
        assert leases(router) == 0
        assert ("replica-1", "sever") in router.world.trace
        router.world["replica-1"].silent = False


@in_virtual_time
async def test_a_frozen_replica_costs_a_hedged_read_milliseconds() -> None:
    async with hedging() as router:
        router.world["replica-2"].silent = True
        worst_s, _ = await worst_of(router, 300)
        assert worst_s < 0.02
        await pass_time(1.0)
        assert not router.is_healthy("replica-2"), "the reads that were late made somebody look"


@in_virtual_time
async def test_nothing_is_hedged_unasked() -> None:
    async with hedging(hedge=False) as router:
        slow(router, "replica-2", latency_s=0.2)
        worst_s, _ = await worst_of(router, 6)
        assert worst_s >= 0.2
        assert sum(fetched(router.world).values()) == 6
        worst_s, _ = await worst_of(router, 6, hedge=True)
        assert worst_s < 0.01


@in_virtual_time
async def test_what_is_not_surely_a_read_is_hedged_only_when_the_call_says_so() -> None:
    async with hedging() as router:
        for _ in range(FEWEST_TIMES * 2):
            await router.fetch("call f()", hedge=True)
        router.world.trace.clear()
        slow(router, "replica-1", "replica-2", "replica-3", latency_s=0.2)
        await router.fetch("call f()")
        assert sum(fetched(router.world).values()) == 1
        await router.fetch("call f()", hedge=True)
        assert sum(fetched(router.world).values()) == 3


@in_virtual_time
async def test_a_statement_that_is_not_known_yet_runs_once() -> None:
    async with hedging() as router:
        slow(router, "replica-1", "replica-2", "replica-3", latency_s=0.1)
        await router.fetch("select 2")
        assert sum(fetched(router.world).values()) == 1


@in_virtual_time
async def test_the_primary_is_never_the_second() -> None:
    async with hedging(1) as router:
        slow(router, "replica-1", latency_s=0.2)
        await worst_of(router, 5)
        assert fetched(router.world) == {"replica-1": 5}
        router.world["replica-1"].crash()
        slow(router, "primary", latency_s=0.1)
        await worst_of(router, 5)
        assert set(fetched(router.world)) == {"replica-1", "primary"}
        assert fetched(router.world)["primary"] == 5


@in_virtual_time
async def test_a_partial_outage_is_not_made_worse() -> None:
    async with hedging(4) as router:
        for name in ("replica-1", "replica-2"):
            router.world[name].crash()
            router.engine._watcher.ask(name)
        await pass_time(1.0)
        router.world.trace.clear()
        slow(router, "replica-3", "replica-4", latency_s=0.1)
        await worst_of(router, 10)
        assert sum(fetched(router.world).values()) == 10


@in_virtual_time
async def test_second_reads_are_a_twentieth_once_the_burst_is_spent() -> None:
    async with hedging() as router:
        slow(router, "replica-1", "replica-2", "replica-3", latency_s=0.02)
        for server in router.world.servers.values():
            server.answers["other"] = [(1,)]
        for _ in range(FEWEST_TIMES):
            await router.fetch("other", hedge=True)
        slow(router, "replica-1", "replica-2", "replica-3", latency_s=0.1)
        known: Any = SimpleNamespace(delay_s=0.002, add=lambda spent_s: None)
        router.engine._hedging._classes._young["other"] = known
        router.world.trace.clear()
        for _ in range(600):
            await router.fetch("other", hedge=True)
        assert sum(fetched(router.world).values()) - 600 <= BURST + 0.05 * 700


@in_virtual_time
async def test_a_first_that_fails_is_told_and_the_second_answers() -> None:
    async with hedging() as router:
        for name in ("replica-1", "replica-2", "replica-3"):
            server = router.world[name]
            server.latency_s = 0.005
            server.answers[CLEAN] = lambda server=server: _once(server)
        assert await router.fetch(CLEAN) != []
        await pass_time(0.5)
        assert max(fetched(router.world).values()) == 1


def _once(server: Any) -> Any:
    """The first that is asked fails, the others answer."""
    world = _once.__dict__.setdefault("seen", [])
    world.append(server.name)
    return lost() if len(world) == 1 else [(server.name,)]


@in_virtual_time
async def test_when_both_fail_the_read_goes_on_elsewhere() -> None:
    async with hedging() as router:
        for name in ("replica-1", "replica-2", "replica-3"):
            router.world[name].latency_s = 0.005
            router.world[name].answers[CLEAN] = sql_error("40001")
        assert await router.fetch(CLEAN) == [("primary",)]


@in_virtual_time
async def test_an_error_of_the_sql_passes_as_it_is() -> None:
    async with hedging() as router:
        for name in ("replica-1", "replica-2", "replica-3"):
            router.world[name].latency_s = 0.005
            router.world[name].answers[CLEAN] = sql_error("42P01")
        with pytest.raises(FakeError, match="42P01"):
            await router.fetch(CLEAN)


@in_virtual_time
async def test_the_callers_time_ends_both() -> None:
    async with hedging() as router:
        slow(router, "replica-1", "replica-2", "replica-3", latency_s=10.0)
        began_s = now_s()
        with pytest.raises(ReadTimeout):
            await router.fetch(CLEAN, timeout_s=0.5)
        assert now_s() - began_s == pytest.approx(0.5, abs=0.01)
        await settle()
        assert leases(router) == 0
        assert sum(fetched(router.world).values()) == 2


@pytest.mark.parametrize("after_s", [0.0005, 0.003, 0.1])
@in_virtual_time
async def test_a_cancelled_caller_leaves_nothing_behind(after_s: float) -> None:
    async with hedging() as router:
        slow(router, "replica-1", "replica-2", "replica-3", latency_s=10.0)
        task = asyncio.ensure_future(router.fetch(CLEAN))
        await pass_time(after_s)
        task.cancel()
        await asyncio.wait([task])
        await settle()
        assert task.cancelled()
        assert leases(router) == 0


@in_virtual_time
async def test_the_first_keeps_its_connection_when_it_answers_after_all() -> None:
    async with hedging() as router:
        slow(router, "replica-1", "replica-2", "replica-3", latency_s=0.004)
        await router.fetch(CLEAN)
        await pass_time(0.1)
        steps = Counter(what for _, what, *_ in router.world.trace)
        assert steps["fetch"] == 2
        assert steps["reset"] == 1
        assert steps["drop"] == 0
        assert leases(router) == 0


@in_virtual_time
async def test_a_hedged_read_keeps_the_bound_of_its_caller() -> None:
    async with hedging(2) as router:
        router.world["primary"].insert_lsn = router.world["primary"].flush_lsn = 5000
        router.world["replica-1"].replay_lsn = 5000
        await pass_time(3.0)
        slow(router, "replica-1", latency_s=0.2)
        assert await router.fetch(CLEAN, max_lag_s=1.0, hedge=True) == [("replica-1",)]
        assert "replica-2" not in fetched(router.world)


@pytest.mark.parametrize("after_s", [0.011, 0.013, 0.018])
@in_virtual_time
async def test_a_first_that_met_a_conflict_is_cleaned_beside_the_caller(after_s: float) -> None:
    """The second has answered after 0.012 s; cancelled or not, nothing is left behind."""
    async with hedging(2) as router:
        slow(router, "replica-1", "replica-2", latency_s=0.01)
        asked: list[str] = []
        for name in ("replica-1", "replica-2"):
            router.world[name].answers[CLEAN] = lambda name=name: _conflict_once(asked, name)
        task = asyncio.ensure_future(router.fetch(CLEAN))
        await pass_time(after_s)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() if after_s < 0.012 else task.result() == [(asked[1],)]
        await pass_time(0.1)
        assert leases(router) == 0


def _conflict_once(asked: list[str], name: str) -> Any:
    asked.append(name)
    return sql_error("40001") if len(asked) == 1 else [(name,)]


@in_virtual_time
async def test_a_second_that_is_ready_when_the_callers_time_is_over_is_not_begun() -> None:
    async with hedging(2) as router:
        for name in ("replica-1", "replica-2"):
            slow(router, name, latency_s=0.03)
            router.world[name].takes_s[CLEAN] = 10.0
        router.engine.board.nodes["replica-2"].reads.drain()
        began_s = now_s()
        with pytest.raises(ReadTimeout):
            await router.fetch(CLEAN, timeout_s=0.05)
        assert now_s() - began_s <= 0.05 + PATIENCE_S
        assert fetched(router.world) == {"replica-1": 1}
        router.world["replica-1"].takes_s.clear()


@in_virtual_time
async def test_a_replica_on_trial_is_never_the_second() -> None:
    """It is the least busy of all, because it is slow."""
    async with hedging(3) as router:
        board, engine = router.engine.board, router.engine
        before = {node.name: node.standing for node in board.topology.nodes}
        board.stand(before, before | {"replica-3": Standing(Phase.ON_TRIAL, now_s(), part=0)})
        lent = [pooled for pooled in (engine.take(PLAIN) for _ in range(4)) if pooled]
        first = next(pooled for pooled in lent if pooled.pool.owner.name == "replica-1")
        second = engine._hedging.second_node(first, PLAIN)
        assert second
        assert second.name == "replica-2"
        for pooled in lent:
            await engine.give_back(pooled)
