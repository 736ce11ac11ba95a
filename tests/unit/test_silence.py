"""A node that falls silent is found by those who wait on it; a slow statement on one that lives is nobody's fault."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pgfleet import OutcomeUnknown, PrimaryUnavailable
from pgfleet.core.node import Reason
from tests.fakes import (
    FakeAsyncRouter,
    FakeConnection,
    FakeError,
    dsn,
    fleet_settings,
    fleet_world,
    in_virtual_time,
    leases,
    pass_time,
    settle,
)

CLEAN = "select 1"
SLEEP = "select pg_sleep(5)"
RARE_S = 30.0
"""Between probes that nobody asks for: what is found sooner was found by the attempts."""


@contextlib.asynccontextmanager
async def fleet(replicas: int = 3, **options: Any) -> AsyncIterator[FakeAsyncRouter]:
    settings = fleet_settings(replicas, **({"health_check_interval_s": RARE_S} | options))
    async with FakeAsyncRouter(fleet_world(replicas), settings) as router:
        yield router
        await settle()
        assert leases(router) == 0


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Callers:
    """So many callers of `fetch`, one read after the other; what the slowest waited."""

    def __init__(self, router: FakeAsyncRouter, count: int) -> None:
        self.worst_s = 0.0
        self.answers: Counter[str] = Counter()
        self._router = router
        self._running = True
        self._tasks = [asyncio.ensure_future(self._call()) for _ in range(count)]

    async def _call(self) -> None:
        while self._running:
            began_s = now_s()
            ((name,),) = await self._router.fetch(CLEAN)
            self.answers[name] += 1
            self.worst_s = max(self.worst_s, now_s() - began_s)
            await pass_time(0.01)

    async def stop(self) -> None:
        self._running = False
        await asyncio.gather(*self._tasks)


@in_virtual_time
async def test_nobody_waits_long_on_a_frozen_node_although_probes_are_rare() -> None:
    """Not in a statement, not in line, and not for a connection that is being opened."""
    async with fleet() as router:
        callers = Callers(router, 16)
        await pass_time(1.0)
        router.world["replica-1"].silent = True
        await pass_time(1.0)
        assert not router.is_healthy("replica-1")
        callers.answers.clear()
        await pass_time(9.0)
        assert set(callers.answers) == {"replica-2", "replica-3"}
        assert callers.worst_s <= 1.0
        router.world["replica-1"].silent = False
        await pass_time(1.5)
        assert callers.answers["replica-1"]
        await callers.stop()


@pytest.mark.parametrize("frozen", [2, 3])
@in_virtual_time
async def test_nobody_goes_on_to_a_node_that_was_given_up_while_he_waited_for_another(frozen: int) -> None:
    """Several froze at one moment, and connections are to be opened on all of them."""
    async with fleet() as router:
        callers = Callers(router, 16)
        await pass_time(1.0)
        names = [f"replica-{n + 1}" for n in range(frozen)]
        for name in names:
            router.world[name].silent = True
            router.engine.board.nodes[name].reads.drain()
        await pass_time(5.0)
        assert callers.worst_s <= 1.0
        for name in names:
            router.world[name].silent = False
        await pass_time(1.5)
        await callers.stop()


@in_virtual_time
async def test_the_next_node_to_freeze_is_found_as_fast_while_the_first_runs_long_statements() -> None:
    async with fleet() as router:
        for server in router.world.servers.values():
            server.takes_s[SLEEP] = 5.0
        long = [asyncio.ensure_future(router.fetch(SLEEP)) for _ in range(3)]
        await pass_time(2.05)
        callers = Callers(router, 4)
        await pass_time(0.2)
        router.world["replica-2"].silent = True
        await pass_time(3.0)
        assert callers.worst_s <= 1.0
        await asyncio.gather(*long, callers.stop())
        router.world["replica-2"].silent = False


@in_virtual_time
@pytest.mark.parametrize("frozen", [None, "replica-2"])
async def test_a_slow_statement_runs_once_and_to_its_end(frozen: str | None) -> None:
    async with fleet(2) as router:
        for _ in range(4):
            await router.fetch(CLEAN)
        for server in router.world.servers.values():
            server.takes_s[SLEEP] = 5.0
        if frozen:
            router.world[frozen].silent = True
            await asyncio.gather(*(router.fetch(CLEAN) for _ in range(4)))
        router.world.trace.clear()
        began_s = now_s()
        assert await router.fetch(SLEEP)
        assert now_s() - began_s == pytest.approx(5.0)
        assert sum(step[1:] == ("fetch", SLEEP) for step in router.world.trace) == 1
        if frozen:
            router.world[frozen].silent = False


@in_virtual_time
async def test_a_long_statement_has_its_node_probed_at_an_easy_pace() -> None:
    async with fleet(1) as router:
        server = router.world["replica-1"]
        server.takes_s[SLEEP] = 10.0
        await router.fetch(CLEAN)
        before = server.looked_at
        await router.fetch(SLEEP)
        assert 5 <= server.looked_at - before <= 15


@in_virtual_time
async def test_a_block_on_a_node_that_stays_out_is_cut_in_the_end_and_a_write_is_not() -> None:
    async with fleet(1) as router:
        ends: dict[str, float] = {}

        async def hang(lease: Any, name: str) -> None:
            conn: FakeConnection
            with contextlib.suppress(FakeError):
                async with lease as conn:
                    await router.world.connector(dsn(conn.server.name)).fetch(conn, CLEAN, ())
            ends[name] = now_s() - frozen_s

        for server in router.world.servers.values():
            server.takes_s[CLEAN] = 10.0
        uses = [asyncio.ensure_future(hang(router.read(), "read"))]
        uses.append(asyncio.ensure_future(hang(router.write(), "write")))
        await pass_time(0.5)
        frozen_s = now_s()
        for server in router.world.servers.values():
            server.silent = True
        await pass_time(2.0)
        assert not ends
        await pass_time(4.0)
        assert list(ends) == ["read"]
        assert 3.0 <= ends["read"] <= 4.5
        for use in uses:
            use.cancel()
        await asyncio.gather(*uses, return_exceptions=True)


@in_virtual_time
@pytest.mark.parametrize("kind", ["read", "write"])
async def test_a_block_that_waits_on_a_life_that_is_over_is_cut(kind: str) -> None:
    """A machine that loses its power says goodbye to nobody. It is back before it counts as out for long."""
    async with fleet(1) as router:
        server = router.world["replica-1" if kind == "read" else "primary"]

        async def wait() -> None:
            async with getattr(router, kind)() as conn:
                await router.world.connector(dsn(server.name)).fetch(conn, CLEAN, ())

        server.takes_s[CLEAN] = 1000.0
        waiting = asyncio.ensure_future(wait())
        await pass_time(0.1)
        server.silent = True
        await pass_time(1.5)
        server.silent, server.life = False, 2
        await pass_time(1.5)
        assert waiting.done()
        assert isinstance(waiting.exception(), FakeError | OutcomeUnknown | PrimaryUnavailable)


@in_virtual_time
async def test_a_read_whose_rows_are_there_does_not_wait_for_a_frozen_nodes_cleaning() -> None:
    async with fleet(1) as router:
        server = router.world["replica-1"]

        def freeze() -> list[tuple[str]]:
            server.silent = True
            return [("replica-1",)]

        server.answers["call f()"] = freeze
        began_s = now_s()
        assert await router.fetch("call f()") == [("replica-1",)]
        assert now_s() - began_s <= 1.0
        server.silent = False
        await pass_time(1.0)


@in_virtual_time
async def test_a_block_on_a_condemned_connection_ends_at_once() -> None:
    async with fleet(1) as router:
        server = router.world["replica-1"]
        async with router.read() as conn:
            await router.world.connector(dsn(conn.server.name)).fetch(conn, "call f()", ())
            server.silent = True
            router.engine.board.fail("replica-1", Reason.UNREACHABLE, "told")
            left_s = now_s()
        assert now_s() == left_s
        server.silent = False
        await pass_time(1.0)


@in_virtual_time
@pytest.mark.parametrize("caught", [False, True])
async def test_a_cut_of_ours_that_is_noticed_late_says_nothing_of_a_node_that_is_well_again(
    caught: bool,
) -> None:
    async with fleet(1) as router:
        server = router.world["replica-1"]
        with contextlib.suppress(FakeError):
            async with router.read() as conn:
                server.silent = True
                router.engine._watcher.ask("replica-1")
                await pass_time(4.5)
                assert not conn.alive, "it was cut after three seconds"
                server.silent = False
                await pass_time(1.5)
                assert router.is_healthy("replica-1")
                with contextlib.suppress(FakeError) if caught else contextlib.nullcontext():
                    await router.world.connector(dsn(conn.server.name)).fetch(conn, "call f()", ())
        assert router.is_healthy("replica-1")


@in_virtual_time
async def test_a_read_that_makes_nothing_of_its_end_does_not_accuse_the_node() -> None:
    """Its time was over, and `fn` kept that to itself: the connection is cut, and cannot be cleaned."""
    async with fleet(1) as router:
        server = router.world["replica-1"]
        server.takes_s[SLEEP] = 5.0

        async def answer(conn: FakeConnection) -> str:
            with contextlib.suppress(FakeError):
                await router.world.connector(dsn(conn.server.name)).fetch(conn, SLEEP, ())
            return "no answer"

        assert await router.run_read(answer, timeout_s=0.2) == "no answer"
        assert router.is_healthy("replica-1")


@in_virtual_time
async def test_what_is_opened_for_somebody_who_left_is_kept_or_closed() -> None:
    async with fleet(1, node={"max_connections": 2}) as router:
        server = router.world["replica-1"]
        server.latency_s = 0.1
        caller = asyncio.ensure_future(router.fetch(CLEAN))
        await pass_time(0.05)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        server.latency_s = 0.0
        await pass_time(1.0)
        (reads, _), stats = router.pool_stats()["replica-1"], router.engine.board.nodes["replica-1"].reads
        assert reads.active + reads.idle == stats.size == len(server.connections) - 1
