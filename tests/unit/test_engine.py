from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet import LeaseTimeout, OutcomeUnknown, PrimaryUnavailable, ReadTimeout, RouterClosed
from pgfleet.engine.lender import BUSY_PAUSE_S
from tests.examples import examples
from tests.fakes import (
    FakeAsyncRouter,
    FakeConnection,
    FakeError,
    FakeServer,
    World,
    dsn,
    fleet_settings,
    fleet_world,
    in_virtual_time,
    leases,
    lost,
    pass_time,
    run,
    settle,
    sql_error,
)

CLEAN = "select 1"
"""A statement that needs no reset; "call f()" needs one."""


@contextlib.asynccontextmanager
async def fleet(replicas: int = 3, **options: Any) -> AsyncIterator[FakeAsyncRouter]:
    """An open router; when the test is over nothing is lent and, once closed, no connection is left."""
    world = fleet_world(replicas)
    async with FakeAsyncRouter(world, fleet_settings(replicas, **options)) as router:
        yield router
        await settle()
        assert leases(router) == 0
    assert not any(server.connections for server in world.servers.values())


def fetched(world: World) -> Counter[str]:
    """On which servers statements ran, or were tried."""
    return Counter(server for server, what, *_ in world.trace if what == "fetch")


def write(world: World, lsn: int, *replayed_by: str) -> None:
    """The primary commits; these replicas have replayed it."""
    world["primary"].insert_lsn = world["primary"].flush_lsn = lsn
    for name in replayed_by:
        world[name].replay_lsn = lsn


async def served_by(router: FakeAsyncRouter, **options: Any) -> str:
    rows = await router.fetch(CLEAN, **options)
    return str(rows[0][0])


def fall_back_lines(caplog: pytest.LogCaptureFixture) -> int:
    return sum("Read replica not available" in record.message for record in caplog.records)


# balance


@in_virtual_time
async def test_reads_take_turns() -> None:
    async with fleet() as router:
        for _ in range(3):
            await router.fetch(CLEAN)
        router.world.trace.clear()
        for _ in range(30):
            await router.fetch(CLEAN)
        assert fetched(router.world) == {"replica-1": 10, "replica-2": 10, "replica-3": 10}


@in_virtual_time
async def test_weights_are_honoured() -> None:
    async with fleet(2, weights=[3, 1]) as router:
        for _ in range(4):
            await router.fetch(CLEAN)
        router.world.trace.clear()
        for _ in range(40):
            await router.fetch(CLEAN)
        assert fetched(router.world) == {"replica-1": 30, "replica-2": 10}


@in_virtual_time
async def test_least_in_flight_goes_round_and_around_the_busy() -> None:
    async with fleet(policy="least_in_flight") as router:
        for _ in range(30):
            await router.fetch(CLEAN)
        counts = fetched(router.world)
        assert len(counts) == 3
        assert max(counts.values()) - min(counts.values()) <= 2
        async with router.read() as held:
            router.world.trace.clear()
            for _ in range(10):
                await router.fetch(CLEAN)
            assert held.server.name not in fetched(router.world)


@in_virtual_time
async def test_a_full_server_is_no_black_hole() -> None:
    """It has nothing in flight and refuses fastest; the others must not wait for it at every read."""
    async with fleet(policy="least_in_flight") as router:
        full = router.world["replica-2"]
        full.refuses = sql_error("53300", fatal=True)
        for _ in range(50):
            assert await served_by(router) != "replica-2"
        tried = sum(step == ("replica-2", "open") for step in router.world.trace)
        assert tried <= 3


@in_virtual_time
async def test_prefer_replica_false_and_disabled_replicas_read_the_primary() -> None:
    async with fleet() as router:
        assert await served_by(router, prefer_replica=False) == "primary"
    async with fleet(use_replicas=False) as router:
        assert await served_by(router) == "primary"
        assert not router.has_replicas()
        assert not router.world["replica-1"].opened


@in_virtual_time
async def test_a_critical_read_whose_connection_was_lost_says_so_although_the_primary_is_well() -> None:
    async with fleet() as router:
        router.world["primary"].answers["q"] = lost()
        with pytest.raises(PrimaryUnavailable, match="primary has failed this read already"):
            await router.fetch("q", prefer_replica=False, timeout_s=1.0)


# failing nodes


@in_virtual_time
async def test_a_node_that_dies_is_replaced_without_an_error() -> None:
    async with fleet() as router:
        for _ in range(6):
            await router.fetch(CLEAN)
        router.world["replica-1"].crash()
        for _ in range(30):
            assert await served_by(router) != "replica-1"
        await settle()
        assert not router.is_healthy("replica-1")
        router.world["replica-1"].restart()
        await pass_time(1.0)
        assert router.is_healthy("replica-1")
        assert {await served_by(router) for _ in range(9)} == {"replica-1", "replica-2", "replica-3"}


@in_virtual_time
async def test_a_statement_that_dies_runs_elsewhere() -> None:
    async with fleet() as router:
        for name in ("replica-1", "replica-2"):
            router.world[name].answers["q"] = lost()
        assert await router.fetch("q") == [("replica-3",)] or fetched(router.world)["primary"] == 0
        assert max(fetched(router.world).values()) == 1


@in_virtual_time
async def test_a_read_that_each_replica_loses_and_survives_is_not_sent_to_the_primary() -> None:
    async with fleet() as router:
        for server in router.world.servers.values():
            server.answers["q"] = lost()
        with pytest.raises(FakeError) as raised:
            await router.fetch("q")
        assert "as if it crashed them" in raised.value.__notes__[0]
        assert fetched(router.world) == dict.fromkeys(("replica-1", "replica-2", "replica-3"), 1)


@in_virtual_time
async def test_connections_of_an_earlier_life_are_never_lent_again() -> None:
    async with fleet(1) as router:
        async with router.read() as conn:
            pass
        conn.server.life += 1  # a proxy in between may keep the connection as if nothing had been
        await pass_time(1.5)
        assert not conn.alive
        assert await served_by(router) == "replica-1"


@in_virtual_time
async def test_one_probe_without_an_answer_ejects_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with fleet(1) as router:
        await pass_time(1.5)
        router.world["replica-1"].silent = True
        router.engine._watcher.ask("replica-1")
        await pass_time(0.1)
        router.world["replica-1"].silent = False
        await pass_time(1.0)
        assert router.is_healthy("replica-1")
    assert "is out" not in caplog.text


@in_virtual_time
async def test_a_conflict_with_replay_runs_elsewhere_and_ejects_nobody() -> None:
    async with fleet(1) as router:
        router.world["replica-1"].answers["q"] = sql_error("40001")
        assert await router.fetch("q") == [("primary",)]
        assert router.is_healthy("replica-1")


@in_virtual_time
async def test_a_write_is_never_sent_twice() -> None:
    async with fleet() as router:
        router.world["primary"].answers["w"] = lost()
        with pytest.raises(Exception, match="closed the connection"):
            await router.execute("w")
        assert [step for step in router.world.trace if step[1] == "execute"] == [("primary", "execute", "w")]


@in_virtual_time
async def test_a_users_error_passes_untouched_and_blames_nobody() -> None:
    async with fleet() as router:
        error = sql_error("42P01")
        for server in router.world.servers.values():
            server.answers["bad"] = error
        with pytest.raises(type(error)) as raised:
            await router.fetch("bad")
        assert raised.value is error
        assert sum(fetched(router.world).values()) == 1
        with pytest.raises(ValueError, match="mine"):
            async with router.read():
                raise ValueError("mine")
        assert all(router.is_healthy(name) for name in router.world.servers)


@in_virtual_time
async def test_a_write_on_a_read_lease_says_so() -> None:
    async with fleet(1) as router:
        router.world["replica-1"].answers["insert"] = sql_error("25006")
        with pytest.raises(Exception, match="25006") as raised:
            await router.fetch("insert")
        assert "use write() or execute()" in raised.value.__notes__[0]
        assert router.is_healthy("replica-1")


@pytest.mark.parametrize("options", [{}, {"timeout_s": 1.0}], ids=["the short way", "the long way"])
@in_virtual_time
async def test_one_line_per_outage(caplog: pytest.LogCaptureFixture, options: dict[str, Any]) -> None:
    caplog.set_level(logging.WARNING, "pgfleet")
    async with fleet(2) as router:
        for outage in (1, 2):
            for name in ("replica-1", "replica-2"):
                router.world[name].crash()
            for _ in range(20):
                assert await served_by(router, **options) == "primary"
            assert fall_back_lines(caplog) == outage
            for name in ("replica-1", "replica-2"):
                router.world[name].restart()
            await pass_time(2.0)
            assert await served_by(router) != "primary"
    assert all("secret" not in record.message for record in caplog.records)


@in_virtual_time
async def test_run_read_runs_again_elsewhere_but_not_after_the_callers_own_error() -> None:
    async with fleet(2) as router:
        ran_on: list[str] = []

        async def work(conn: FakeConnection) -> str:
            ran_on.append(conn.server.name)
            if len(ran_on) == 1:
                conn.cut()
                raise lost()
            return conn.server.name

        assert await router.run_read(work) == ran_on[1] != ran_on[0]

        async def wrong(conn: FakeConnection) -> str:
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await router.run_read(wrong)


@in_virtual_time
async def test_a_connection_to_another_database_that_is_lost_in_a_block_is_the_callers_own() -> None:
    async with fleet(1) as router:
        another = lost("another database closed the connection")

        async def ask_both(conn: FakeConnection) -> None:
            raise another

        with pytest.raises(FakeError) as raised:
            await router.run_read(ask_both)
        assert raised.value is another
        for block in (router.read(), router.write(), router.write(transaction=False)):
            with pytest.raises(FakeError) as raised:
                async with block:
                    raise another
            assert raised.value is another
        assert router.is_healthy("replica-1")
        assert router.is_healthy("primary")
        assert all(server.opened <= 3 for server in router.world.servers.values()), "their connections stay"


@in_virtual_time
async def test_a_statement_that_needs_no_cleaning_spares_the_round_trip() -> None:
    async with fleet(1) as router:
        await router.fetch(CLEAN)
        assert not [step for step in router.world.trace if step[1] == "reset"]
        await router.fetch("call f()")
        assert [step for step in router.world.trace if step[1] == "reset"]


@in_virtual_time
async def test_a_block_is_not_cut_because_its_connection_served_a_fetch_before() -> None:
    async with fleet(1) as router:
        await router.fetch("call f()")
        async with router.read() as conn:
            assert conn.server.opened == 2, "the same connection, and that of the probes"
            router.engine.board.give_up("replica-1")
            assert conn.alive


@in_virtual_time
async def test_a_statement_on_a_node_that_falls_silent_goes_on_elsewhere() -> None:
    async with fleet(2) as router:
        for _ in range(4):
            await router.fetch(CLEAN)
        router.world["replica-1"].silent = True
        began_s = asyncio.get_running_loop().time()
        assert {await served_by(router) for _ in range(10)} == {"replica-2"}
        assert asyncio.get_running_loop().time() - began_s < 3.5
        router.world["replica-1"].silent = False


# time


@in_virtual_time
async def test_timeout_s_cuts_the_statement_and_nothing_else() -> None:
    async with fleet(1, node={"max_connections": 2}) as router:
        router.world["replica-1"].answers[CLEAN] = [("replica-1",)]
        await router.fetch(CLEAN)
        slow = router.world["replica-1"]
        slow.latency_s = 0.2
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(ReadTimeout):
            await router.fetch(CLEAN, timeout_s=0.1)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(0.1)
        slow.latency_s = 0.0
        assert router.is_healthy("replica-1")
        assert await served_by(router, timeout_s=0.1) == "replica-1"


@in_virtual_time
async def test_the_deadline_of_a_read_never_cuts_the_next_borrower() -> None:
    async with fleet(1, node={"max_connections": 1}) as router:
        await router.fetch(CLEAN, timeout_s=0.5)
        async with router.read() as conn:
            await pass_time(1.0)
            assert conn.alive


@in_virtual_time
async def test_a_caller_without_patience_ejects_nobody() -> None:
    async with fleet(2) as router:
        for server in router.world.servers.values():
            server.latency_s = 0.1
        with pytest.raises(LeaseTimeout):
            async with router.read(timeout_s=0.05):
                pass
        assert router.is_healthy("replica-1")
        assert router.is_healthy("replica-2")
        await pass_time(0.5)
        for server in router.world.servers.values():
            server.latency_s = 0.0


@in_virtual_time
async def test_waiting_for_a_lease_ends_in_time() -> None:
    async with fleet(0, node={"max_connections": 1}, connection_timeout_s=2.0) as router, router.write():
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(LeaseTimeout):
            await router.execute("w")
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(2.0, abs=0.1)
        with pytest.raises(LeaseTimeout):
            await router.fetch(CLEAN, timeout_s=0.5)


@in_virtual_time
async def test_full_servers_are_asked_at_a_pace() -> None:
    async with fleet(1, connection_timeout_s=2.0) as router:
        for server in router.world.servers.values():
            server.refuses = sql_error("53300", fatal=True)
        with pytest.raises(LeaseTimeout):
            await router.fetch(CLEAN)
        attempts = sum(step[1] == "open" for step in router.world.trace)
        assert attempts <= 2 * (2.0 / BUSY_PAUSE_S + 1)


@in_virtual_time
async def test_nobody_waits_on_for_a_node_that_died() -> None:
    async with fleet(2, node={"max_connections": 1}) as router:
        blocks = [router.read(), router.read()]
        async with blocks[0] as first:
            held = [first, await blocks[1].__aenter__()]
            waiting = [asyncio.ensure_future(served_by(router)) for _ in range(4)]
            await settle()
            held[0].server.crash()
            await pass_time(1.5)
            assert not router.is_healthy(held[0].server.name)
            await blocks[1].__aexit__(None, None, None)
            served = await asyncio.wait_for(asyncio.gather(*waiting), 1.0)
            assert set(served) == {held[1].server.name}, "though a lease of the other has not ended"


# cancellation


@in_virtual_time
@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.15, 0.25, 0.35])
@pytest.mark.parametrize("what", ["fetch", "read", "write", "execute", "transaction"])
async def test_whoever_is_cancelled_leaves_nothing_behind(what: str, after_s: float) -> None:
    async with fleet(1) as router:
        for server in router.world.servers.values():
            server.latency_s = 0.1
        uses: dict[str, Callable[[], Any]] = {
            "fetch": lambda: router.fetch("call f()"),
            "read": lambda: _use(router.read()),
            "write": lambda: _use(router.write(org_id=7)),
            "execute": lambda: router.execute("w", org_id=7),
            "transaction": lambda: _use(router.read(transaction=True)),
        }
        task = asyncio.ensure_future(uses[what]())
        await pass_time(after_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await settle()
        assert task.cancelled()
        assert leases(router) == 0
        assert not router.engine.board.writes.marks._open
        for server in router.world.servers.values():
            server.latency_s = 0.0
            assert not any(conn.in_transaction for conn in server.connections)


async def _use(lease: Any) -> None:
    async with lease:
        await pass_time(0.1)


@in_virtual_time
async def test_what_was_cancelled_on_the_wire_does_not_meet_the_next_borrower() -> None:
    async with fleet(1) as router:
        lent: list[FakeConnection] = []

        async def use() -> None:
            async with router.read() as conn:
                lent.append(conn)
                conn.server.latency_s = 1.0
                await router.world.connector(dsn("replica-1")).fetch(conn, CLEAN, ())

        task = asyncio.ensure_future(use())
        await settle()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        lent[0].server.latency_s = 0.0
        assert not lent[0].alive


@in_virtual_time
async def test_a_cancellation_stays_one_although_time_was_over_too() -> None:
    async with fleet(1) as router:
        await router.fetch(CLEAN)
        router.world["replica-1"].latency_s = 0.2
        task = asyncio.ensure_future(router.fetch(CLEAN, timeout_s=0.1))
        asyncio.get_running_loop().call_later(0.1, task.cancel)
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() or isinstance(task.exception(), ReadTimeout)
        if not task.cancelled():
            assert task.cancelling() == 0, "a cancellation was swallowed"
        router.world["replica-1"].latency_s = 0.0


# life


@in_virtual_time
async def test_a_router_that_is_not_open_says_so() -> None:
    router = FakeAsyncRouter(fleet_world(1), fleet_settings(1))
    with pytest.raises(RouterClosed):
        await router.fetch(CLEAN)
    async with router:
        late = router.read()
        async with router.read() as conn:
            pass
    assert not conn.alive
    for use in (router.fetch(CLEAN), router.execute("w"), late.__aenter__()):
        with pytest.raises(RouterClosed):
            await use
    with pytest.raises(RouterClosed):
        router.read()
    await router.close()


@in_virtual_time
async def test_what_is_lent_while_the_router_closes_ends_when_it_comes_back() -> None:
    world = fleet_world(1)
    router = await FakeAsyncRouter(world, fleet_settings(1)).open()
    async with router.read() as conn:
        await router.close()
        assert conn.alive
    assert not any(server.connections for server in world.servers.values())


@in_virtual_time
async def test_an_opening_that_is_cancelled_leaves_no_task() -> None:
    world = fleet_world(1)
    for server in world.servers.values():
        server.silent = True
    router = FakeAsyncRouter(world, fleet_settings(1))
    opening = asyncio.ensure_future(router.open())
    await pass_time(0.1)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_opening_does_not_wait_for_ever() -> None:
    world = fleet_world(1)
    world["replica-1"].silent = True
    began_s = asyncio.get_running_loop().time()
    async with FakeAsyncRouter(world, fleet_settings(1)) as router:
        assert asyncio.get_running_loop().time() - began_s <= 4.0
        assert await served_by(router) == "primary"


@in_virtual_time
async def test_pools_are_tended_for_as_long_as_the_router_is_open() -> None:
    async with fleet(1, node={"min_connections": 2}, max_lifetime_s=5.0) as router:
        for _ in range(3):
            await pass_time(6.0)
            assert len(router.world["replica-1"].connections) == 3, "two in the pool, one for probes"
        assert router.world["replica-1"].opened > 5


# writes


@in_virtual_time
async def test_a_write_commits_and_a_failed_one_rolls_back() -> None:
    async with fleet(0) as router:
        async with router.write() as conn:
            assert conn.in_transaction
        with pytest.raises(ValueError, match="mine"):
            async with router.write():
                raise ValueError("mine")
        steps = [step[1] for step in router.world.trace]
        assert steps == ["open", "begin", "commit", "reset", "begin", "rollback", "reset"]


@in_virtual_time
async def test_a_commit_that_dies_is_told_and_suspects_the_primary() -> None:
    async with fleet(0) as router:
        with pytest.raises(OutcomeUnknown, match="closed the connection"):
            async with router.write() as conn:
                conn.server.answers["commit"] = conn.server.crash
        await settle()
        assert not router.is_healthy("primary")
        with pytest.raises(PrimaryUnavailable):
            await router.execute("w")
        conn.server.restart()
        await pass_time(1.0)
        await router.execute("w")


@in_virtual_time
async def test_a_statement_that_dies_under_a_write_suspects_the_primary_too() -> None:
    async with fleet(0) as router:
        primary = router.world["primary"]
        closed = RuntimeError("asyncpg says no more than that its connection is closed")

        def die() -> None:
            primary.crash()
            primary.rollback_error = primary.reset_error = closed
            raise lost()

        with pytest.raises(PrimaryUnavailable):
            async with router.write():
                die()
        assert not router.is_healthy("primary")
        primary.restart()
        await pass_time(1.0)


@in_virtual_time
@pytest.mark.parametrize(
    "change", [{"system_id": 8}, {"in_recovery": True}], ids=["another cluster", "a standby"]
)
async def test_no_write_is_lent_on_a_server_that_ceased_to_be_the_primary(change: dict[str, Any]) -> None:
    async with fleet(0, health_check_interval_s=30.0) as router:
        await router.execute("w")
        primary = router.world["primary"]
        for field, value in change.items():
            setattr(primary, field, value)
        primary.restart()
        with pytest.raises(PrimaryUnavailable):
            await router.execute("w2")
        assert ("primary", "execute", "w2") not in router.world.trace


@in_virtual_time
async def test_after_a_promotion_writes_go_to_the_new_primary() -> None:
    async with fleet(2) as router:
        router.world["primary"].crash()
        promoted = router.world["replica-1"]
        promoted.in_recovery, promoted.timeline = False, 2
        await pass_time(2.0)
        async with router.write() as conn:
            assert conn.server is promoted
        router.world["primary"].restart()
        await pass_time(2.0)
        async with router.write() as conn:
            assert conn.server is promoted, "the old one is fenced"
        assert await served_by(router) == "replica-1", "replica-2 is not proven on timeline 2"


@in_virtual_time
async def test_who_waits_for_the_primary_of_before_does_not_write_to_it() -> None:
    async def writes() -> str:
        async with router.write() as conn:
            return str(conn.server.name)

    async def holds_on() -> None:
        async with router.write():
            await pass_time(2.0)

    async with fleet(1, node={"max_connections": 1}) as router:
        writing = asyncio.ensure_future(holds_on())
        await settle()
        in_line = asyncio.ensure_future(writes())
        promoted = router.world["replica-1"]
        promoted.in_recovery, promoted.timeline = False, 2
        assert await in_line == "replica-1"
        with pytest.raises(PrimaryUnavailable):  # its server was fenced under it
            await writing


@in_virtual_time
@pytest.mark.parametrize("kind", ["read", "write"])
async def test_a_transaction_begins_in_time_or_not_at_all(kind: str) -> None:
    """BEGIN is a round trip for some drivers: a server that hangs must not hold the caller beyond the lease's time."""
    async with fleet(0) as router:
        lease = partial(getattr(router, kind), transaction=True)
        async with lease():
            pass
        router.world["primary"].silent = True
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(LeaseTimeout, match="did not begin"):
            async with lease(timeout_s=0.1):
                raise AssertionError("nothing answered")
        assert asyncio.get_running_loop().time() - begun_s == pytest.approx(0.1)
        router.world["primary"].silent = False


# read your own writes


async def _committed(router: FakeAsyncRouter) -> None:
    async with router.write(org_id=7):
        pass


async def _failed(router: FakeAsyncRouter) -> None:
    with contextlib.suppress(ValueError):
        async with router.write(org_id=7):
            raise ValueError


async def _cancelled(router: FakeAsyncRouter) -> None:
    task = asyncio.ensure_future(_use(router.write(org_id=7)))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@in_virtual_time
@pytest.mark.parametrize("written", [_committed, _failed, _cancelled])
async def test_a_read_after_a_write_sees_it(written: Callable[[FakeAsyncRouter], Any]) -> None:
    async with fleet(2) as router:
        await pass_time(1.5)
        assert await served_by(router, org_id=7) != "primary", "never wrote"
        await written(router)
        write(router.world, 2000)
        assert await served_by(router, org_id=7) == "primary", "no replica has replayed it"
        assert await served_by(router, org_id=8) != "primary", "another org does not care"
        write(router.world, 2000, "replica-2")
        assert await served_by(router, org_id=7) == "replica-2", "it is looked at"
        await pass_time(2.5)
        assert {await served_by(router, org_id=7) for _ in range(6)} == {"replica-2"}
        write(router.world, 2000, "replica-1")
        await pass_time(2.5)
        assert {await served_by(router, org_id=7) for _ in range(6)} == {"replica-1", "replica-2"}


@in_virtual_time
async def test_while_an_org_writes_it_reads_the_primary() -> None:
    async with fleet(1) as router, router.write(org_id=7):
        await pass_time(5.0)
        assert await served_by(router, org_id=7) == "primary"
        assert await served_by(router) == "replica-1"


# staleness


@in_virtual_time
async def test_a_strict_read_asks_for_fresher_knowledge() -> None:
    async with fleet(2, health_check_interval_s=30.0) as router:
        await pass_time(8.3)
        write(router.world, 5000, "replica-2")
        assert await served_by(router, max_lag_s=0.2) == "replica-2"


@in_virtual_time
async def test_a_strict_read_takes_no_replica_that_lags() -> None:
    async with fleet(1) as router:
        write(router.world, 5000)
        await pass_time(3.0)
        assert await served_by(router, max_lag_s=1.0) == "primary"
        assert await served_by(router) == "replica-1", "a plain one does, up to its bound"
        await pass_time(10.0)
        assert await served_by(router) == "primary"


@in_virtual_time
async def test_replicas_keep_serving_at_a_long_interval_while_the_primary_writes() -> None:
    async with fleet(2, health_check_interval_s=30.0) as router:
        for server in router.world.servers.values():
            server.latency_s = 0.01
        for second in range(60):
            await pass_time(1.0)
            write(router.world, 5000 + second, "replica-1", "replica-2")
            began_s = asyncio.get_running_loop().time()
            assert await served_by(router) != "primary"
            if second > 5:
                assert asyncio.get_running_loop().time() - began_s < 0.015, "no read waits for a probe"


@in_virtual_time
async def test_after_a_quiet_spell_a_plain_read_asks_before_it_takes_the_primary() -> None:
    async with fleet(2, health_check_interval_s=30.0) as router:
        assert await served_by(router, prefer_replica=False) == "primary", "so a connection is idle there"
        for second in range(20):
            await pass_time(1.0)
            write(router.world, 5000 + second, "replica-1", "replica-2")
        assert await served_by(router) != "primary"
        assert await served_by(router) != "primary"


@in_virtual_time
async def test_while_no_replica_is_fresh_enough_plain_reads_take_the_primary_without_asking() -> None:
    async with fleet(2, health_check_interval_s=30.0) as router:
        write(router.world, 5000)
        await pass_time(20.0)
        assert await served_by(router) == "primary"
        for server in router.world.servers.values():
            server.latency_s = 0.01
        await pass_time(2.0)
        began_s = asyncio.get_running_loop().time()
        for _ in range(100):
            assert await served_by(router) == "primary"
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(1.0)


@pytest.mark.parametrize(("known", "most_s"), [(True, 0.02), (False, 0.1)])
@in_virtual_time
async def test_a_strict_read_does_not_wait_for_a_dead_node(known: bool, most_s: float) -> None:
    async with fleet(2, health_check_interval_s=30.0) as router:
        router.world["replica-1"].silent = True
        if known:
            router.engine._watcher.ask("replica-1")
        await pass_time(9.3)
        assert router.is_healthy("replica-1") is not known
        write(router.world, 5000, "replica-2")
        began_s = asyncio.get_running_loop().time()
        assert await served_by(router, max_lag_s=0.2) == "replica-2"
        assert asyncio.get_running_loop().time() - began_s < most_s
        router.world["replica-1"].silent = False


@in_virtual_time
async def test_while_no_primary_answers_plain_reads_go_on_and_strict_ones_do_not() -> None:
    async with fleet(2) as router:
        await pass_time(1.5)
        router.world["primary"].crash()
        await pass_time(120.0)
        assert await served_by(router) != "primary"
        for strict in ({"max_lag_s": 5.0}, {"prefer_replica": False}):
            with pytest.raises(PrimaryUnavailable):
                await router.fetch(CLEAN, **strict)
        with pytest.raises(PrimaryUnavailable):
            await router.execute("w", org_id=7)
        with pytest.raises(PrimaryUnavailable):
            await router.fetch(CLEAN, org_id=7)


@in_virtual_time
async def test_a_refusal_names_the_replica_that_grew_too_stale_while_its_connection_was_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with fleet(1) as router:
        await pass_time(1.5)
        router.world["primary"].crash()
        await pass_time(1.5)
        pool = router.engine.board.nodes["replica-1"].reads
        acquire = pool.acquire

        async def slowly(*args: float) -> Any:
            await pass_time(20.0)
            return await acquire(*args)

        monkeypatch.setattr(pool, "acquire", slowly)
        monkeypatch.setattr(pool, "take", lambda: None)
        with pytest.raises(PrimaryUnavailable, match="replica-1 is staler than the read allows"):
            await router.fetch(CLEAN, max_lag_s=5.0)


@in_virtual_time
async def test_a_standby_that_comes_back_behind_itself_serves_no_strict_read_until_proven() -> None:
    async with fleet(1, health_check_interval_s=30.0) as router:
        write(router.world, 5000, "replica-1")
        await pass_time(4.0)
        assert await served_by(router, max_lag_s=2.0) == "replica-1"
        router.world["replica-1"].restart()
        router.world["replica-1"].replay_lsn = 3000
        assert await served_by(router, max_lag_s=2.0) == "primary"
        router.world["replica-1"].replay_lsn = 5000
        await pass_time(1.0)
        assert await served_by(router, max_lag_s=2.0) == "replica-1"


# whatever happens

Event = tuple[str, int]
USES = ("fetch", "dirty", "read", "write", "execute", "strict", "org")
KINDS = (*USES, "cancel", "die", "crash", "restart", "silent", "speak", "full", "wait", "long wait")
events = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 3),
    ),
    max_size=30,
)


class Story:
    """Callers and faults, at random."""

    def __init__(self, router: FakeAsyncRouter) -> None:
        self.router = router
        self.tasks: list[asyncio.Task[Any]] = []
        self.servers = list(router.world.servers.values())

    async def happen(self, what: str, which: int) -> None:
        server = self.servers[which]
        if use := self._use(what):
            self.tasks.append(asyncio.ensure_future(use))
            await asyncio.sleep(0)
        elif what == "cancel" and self.tasks:
            self.tasks[which % len(self.tasks)].cancel()
        elif what.endswith("wait"):
            await pass_time(5.0 if what == "long wait" else 0.1)
        else:
            self._fault(what, server)

    def _use(self, what: str) -> Any:
        router = self.router
        uses: dict[str, Callable[[], Any]] = {
            "fetch": lambda: router.fetch(CLEAN, timeout_s=1.0),
            "dirty": lambda: router.fetch("call f()"),
            "read": lambda: _use(router.read()),
            "write": lambda: _use(router.write(org_id=7)),
            "execute": lambda: router.execute("w", org_id=7),
            "strict": lambda: router.fetch(CLEAN, max_lag_s=0.3),
            "org": lambda: router.fetch(CLEAN, org_id=7),
        }
        return uses[what]() if what in uses else None

    def _fault(self, what: str, server: FakeServer) -> None:
        if what == "crash":
            server.crash()
        elif what == "restart":
            server.restart()
        elif what == "die":
            for conn in list(server.connections)[:2]:
                conn.cut()
        elif what == "full":
            server.refuses = sql_error("53300", fatal=True)
        else:
            server.silent = what == "silent"


@examples(40)
@given(events)
def test_every_history_ends_with_nothing_lent(story: list[Event]) -> None:
    async def main() -> None:
        async with fleet(connection_timeout_s=3.0) as router:
            told = Story(router)
            for what, which in story:
                await told.happen(what, which)
            for server in told.servers:
                server.silent = False
                server.restart()
            await asyncio.wait_for(asyncio.gather(*told.tasks, return_exceptions=True), 60.0)
            await pass_time(3.0)
            assert not router.engine.board.writes.marks._open
            assert not router.engine.board.table.names or await served_by(router)
            assert {await served_by(router) for _ in range(6)} == {"replica-1", "replica-2", "replica-3"}

    run(main())
