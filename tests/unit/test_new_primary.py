"""What writers meet while the primary moves: in virtual time, where a wait may be measured."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pgfleet import (
    ConfigurationError,
    LeaseTimeout,
    NoReplica,
    OutcomeUnknown,
    PgfleetError,
    PrimaryUnavailable,
    SplitBrain,
)
from pgfleet.core.node import Reason
from pgfleet.core.probe import read_observation
from pgfleet.core.schedule import SEARCH_LASTS_S, SEARCH_RETRY_S
from pgfleet.engine.lender import HEIR_WAIT_S
from tests.fakes import (
    FakeAsyncRouter,
    FakeConnection,
    FakeServer,
    fleet_settings,
    fleet_world,
    in_virtual_time,
    leases,
    lost,
    pass_time,
    settle,
    sql_error,
)

READ = "select 1"
SLOW_PROBES: dict[str, Any] = {"health_check_interval_s": 30.0}


@contextlib.asynccontextmanager
async def fleet(replicas: int = 2, **options: Any) -> AsyncIterator[FakeAsyncRouter]:
    """An open router; when the test is over nothing is lent."""
    async with FakeAsyncRouter(fleet_world(replicas), fleet_settings(replicas, **options)) as router:
        yield router
        assert leases(router) == 0
        assert not router.engine.board.vacancy._waiters


def now_s() -> float:
    return asyncio.get_running_loop().time()


def promote(server: FakeServer, timeline: int = 2) -> FakeServer:
    server.in_recovery, server.timeline = False, timeline
    return server


def sent(router: FakeAsyncRouter, name: str) -> list[str]:
    """The statements that reached this server."""
    return [step[2] for step in router.world.trace if step[:2] == (name, "execute")]


def probes(server: FakeServer) -> Callable[[], int]:
    """Counts the questions that a server is asked from now on."""
    asked, row = [], server.row

    def counted() -> tuple[Any, ...]:
        asked.append(1)
        return row()

    server.row = counted  # type: ignore[method-assign]
    return lambda: len(asked)


# waiting


@in_virtual_time
async def test_a_write_waits_for_the_new_primary() -> None:
    async with fleet(**SLOW_PROBES) as router:
        router.world["primary"].crash()
        write = asyncio.ensure_future(router.execute("w"))
        await pass_time(5.0)
        assert not write.done()
        promote(router.world["replica-2"])
        promoted_s = now_s()
        await write
        assert now_s() - promoted_s <= SEARCH_RETRY_S, "although replicas are probed every 30 s"
        assert sent(router, "replica-2") == ["w"]


@in_virtual_time
async def test_a_write_that_finds_no_primary_tells_how_long_it_waited_and_what_each_node_said() -> None:
    async with fleet() as router:
        router.world["primary"].crash()
        began_s = now_s()
        with pytest.raises(PrimaryUnavailable) as caught:
            await router.execute("w", timeout_s=3.0)
        assert now_s() - began_s == pytest.approx(3.0)
        told = str(caught.value)
        assert "waited 3.0 s" in told
        assert "primary not answering (primary refused the connection)" in told
        assert "replica-1 is in recovery" in told
        assert "replica-2 is in recovery" in told
        assert "safe to try again" in caught.value.hint


@in_virtual_time
async def test_every_waiting_write_is_served_once() -> None:
    async with fleet() as router:
        router.world["primary"].crash()
        writes = [asyncio.ensure_future(router.execute(f"w{n}")) for n in range(20)]
        await pass_time(2.0)
        promote(router.world["replica-1"])
        await asyncio.gather(*writes)
        assert sorted(sent(router, "replica-1")) == sorted(f"w{n}" for n in range(20))


@in_virtual_time
async def test_a_write_that_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    async with fleet() as router:
        router.world["primary"].crash()
        write = asyncio.ensure_future(router.execute("w", org_id=7))
        await pass_time(1.0)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        assert not router.engine.board.writes.marks._open


@in_virtual_time
async def test_a_server_that_ceased_to_be_the_primary_costs_the_write_a_wait_and_no_error() -> None:
    """Its connections died with the restart; the new one says that it leads to a standby."""
    async with fleet(**SLOW_PROBES) as router:
        await router.execute("w1")
        demoted = router.world["primary"]
        demoted.in_recovery, demoted.timeline = True, 2
        demoted.restart()
        promote(router.world["replica-1"])
        await router.execute("w2")
        assert sent(router, "primary") == ["w1"]
        assert sent(router, "replica-1") == ["w2"]


@in_virtual_time
async def test_a_critical_read_waits_like_a_write_and_other_reads_do_not() -> None:
    async with fleet(**SLOW_PROBES) as router:
        await pass_time(2.0)
        router.world["primary"].crash()
        critical = asyncio.ensure_future(router.fetch(READ, prefer_replica=False))
        await pass_time(1.0)
        began_s = now_s()
        assert (await router.fetch(READ))[0][0] != "primary"
        assert now_s() == began_s
        with pytest.raises(PrimaryUnavailable):
            await router.fetch(READ, max_lag_s=0.5)
        assert now_s() - began_s < 1.0
        promote(router.world["replica-1"])
        assert (await critical)[0][0] == "replica-1"


@in_virtual_time
async def test_a_plain_read_waits_for_the_primary_of_a_promotion_that_a_standby_told_of() -> None:
    """No replica is proven to follow one whom nobody has seen yet."""
    async with fleet(**SLOW_PROBES) as router:
        await pass_time(2.0)
        router.world["primary"].crash()
        router.world["replica-2"].timeline = 2
        await router.engine._watcher.refresh(("primary", "replica-2"), 1.0)
        read = asyncio.ensure_future(router.fetch(READ))
        await pass_time(0.5)
        assert not read.done()
        promote(router.world["replica-1"])
        promoted_s = now_s()
        assert (await read)[0][0] in {"replica-1", "replica-2"}
        assert now_s() - promoted_s <= SEARCH_RETRY_S
        began_s = now_s()
        router.world["replica-1"].crash()
        router.world["replica-2"].timeline = 3
        await router.engine._watcher.refresh(("replica-1", "replica-2"), 1.0)
        with pytest.raises(PrimaryUnavailable, match="not yet proven"):
            await router.fetch(READ)
        assert now_s() - began_s <= HEIR_WAIT_S + 1.0, "and not for as long as a lease may take"


@in_virtual_time
async def test_reads_give_up_a_promoted_primary_that_never_comes() -> None:
    """It may be none of our nodes. Then each read would hold its caller for two seconds, for ever."""
    async with fleet(**SLOW_PROBES) as router:
        await pass_time(2.0)
        router.world["primary"].crash()
        router.world["replica-2"].timeline = 2
        await router.engine._watcher.refresh(("primary", "replica-2"), 1.0)
        began_s = now_s()
        with pytest.raises(NoReplica):
            await router.fetch(READ, unqualified="error")
        assert now_s() - began_s < HEIR_WAIT_S, "who takes nobody but a replica waits for no primary"
        began_s = now_s()
        with pytest.raises(PrimaryUnavailable, match="not yet proven"):
            await router.fetch(READ, timeout_s=0.7)
        assert now_s() - began_s == pytest.approx(0.7)
        await pass_time(SEARCH_LASTS_S)
        began_s = now_s()
        with pytest.raises(PrimaryUnavailable, match="not yet proven"):
            await router.fetch(READ)
        assert now_s() - began_s < HEIR_WAIT_S
        promote(router.world["replica-1"])
        await router.engine._watcher.refresh(("replica-1",), 1.0)
        assert (await router.fetch(READ))[0][0] in {"replica-1", "replica-2"}


@in_virtual_time
async def test_a_first_primary_that_refuses_us_is_told_at_once() -> None:
    world = fleet_world(1)
    world["primary"].refuses = sql_error("28P01", fatal=True)
    async with FakeAsyncRouter(world, fleet_settings(1)) as router:
        began_s = now_s()
        with pytest.raises(PrimaryUnavailable, match="refuses this configuration"):
            await router.execute("w")
        assert now_s() - began_s < 1.0


@in_virtual_time
async def test_a_full_primary_is_asked_again_at_a_pace() -> None:
    async with fleet(0) as router:
        primary = router.world["primary"]
        primary.refuses = sql_error("53300", fatal=True)
        write = asyncio.ensure_future(router.execute("w"))
        await pass_time(1.0)
        primary.refuses = None
        await write
        assert primary.opened == 2, "the probe's and the write's"


@in_virtual_time
async def test_a_full_pool_is_no_missing_primary() -> None:
    async with fleet(0, node={"max_connections": 1}) as router, router.write():
        with pytest.raises(LeaseTimeout):
            await router.execute("w", timeout_s=1.0)


# looking for it


@in_virtual_time
async def test_nodes_are_asked_in_a_hurry_after_a_failed_write_and_not_for_ever() -> None:
    async with fleet(**SLOW_PROBES) as router:
        router.world["primary"].crash()
        asked = probes(router.world["replica-1"])
        with pytest.raises(PrimaryUnavailable):
            await router.execute("w", timeout_s=1.0)
        assert asked() >= 9
        await pass_time(SEARCH_LASTS_S)
        before = asked()
        await pass_time(20.0)
        assert asked() - before <= 1, "nobody waits"


@in_virtual_time
async def test_many_waiting_writes_ask_no_more_than_one() -> None:
    async with fleet(**SLOW_PROBES) as router:
        router.world["primary"].crash()
        asked = probes(router.world["replica-1"])
        writes = []
        for _ in range(100):
            writes.append(asyncio.ensure_future(router.execute("w", timeout_s=5.0)))
            await pass_time(0.02)
        await asyncio.gather(*writes, return_exceptions=True)
        assert asked() <= 7.0 / SEARCH_RETRY_S + 5


@in_virtual_time
async def test_the_hurry_ends_with_the_new_primary() -> None:
    async with fleet(**SLOW_PROBES) as router:
        router.world["primary"].crash()
        promote(router.world["replica-1"])
        await router.execute("w")
        router.world["replica-2"].timeline = 2
        await pass_time(1.0)
        asked = probes(router.world["replica-2"])
        await pass_time(20.0)
        assert asked() <= 1


# fencing


@in_virtual_time
async def test_open_writes_on_an_old_primary_are_cut_as_soon_as_the_new_one_is_seen() -> None:
    async with fleet() as router:

        async def write() -> None:
            async with router.write() as conn:
                promote(router.world["replica-1"])
                await pass_time(2.0)
                assert not conn.alive

        with pytest.raises(PrimaryUnavailable, match="surely not committed") as caught:
            await write()
        assert "COMMIT was sent" in str(caught.value)
        assert ("primary", "commit") not in router.world.trace
        assert router.explain().nodes[0].reason == Reason.FENCED
        await router.execute("w")
        assert sent(router, "replica-1") == ["w"]


@in_virtual_time
async def test_a_standby_of_the_new_timeline_is_enough_to_fence() -> None:
    async with fleet(**SLOW_PROBES) as router:
        await router.execute("w1")
        router.world["replica-2"].timeline = 2
        await router.engine._watcher.refresh(("replica-2",), 1.0)
        with pytest.raises(PrimaryUnavailable, match="is an old primary"):
            await router.execute("w2", timeout_s=1.0)
        assert sent(router, "primary") == ["w1"]


@in_virtual_time
async def test_whoever_stands_in_line_for_the_old_primary_is_served_by_the_new_one() -> None:
    async with fleet(node={"max_connections": 1}) as router:
        with contextlib.suppress(PrimaryUnavailable):
            async with router.write():
                waiting = asyncio.ensure_future(router.execute("w"))
                await settle()
                promote(router.world["replica-1"])
                await waiting
        assert sent(router, "replica-1") == ["w"]


@in_virtual_time
async def test_a_returned_old_primary_gets_no_write_and_no_read_until_it_is_a_standby() -> None:
    async with fleet() as router:
        old, new = router.world["primary"], router.world["replica-1"]
        old.crash()
        promote(new)
        await router.execute("w")
        old.restart()
        router.world.trace.clear()
        for _ in range(40):
            await pass_time(0.25)
            await router.execute("w", org_id=7)
            for options in ({}, {"org_id": 7}, {"prefer_replica": False}):
                assert (await router.fetch(READ, **options))[0][0] != "primary"
        assert not [step for step in router.world.trace if step[0] == "primary"]
        old.in_recovery, old.timeline = True, 2
        old.restart()
        await pass_time(3.0)
        assert "primary" in router.explain().candidates


@in_virtual_time
async def test_two_primaries_take_no_writes_until_one_yields() -> None:
    async with fleet() as router:
        promote(router.world["replica-1"], timeline=2)
        await pass_time(2.0)
        rival = promote(router.world["replica-2"], timeline=2)
        await pass_time(2.0)
        with pytest.raises(SplitBrain, match=r"replica-1 is one of two .*replica-2 is one of two"):
            await router.execute("w1", timeout_s=1.0)
        write = asyncio.ensure_future(router.execute("w2"))
        await pass_time(1.0)
        assert not write.done()
        assert (await router.fetch(READ, prefer_replica=False))[0][0] == "replica-1", "reads go on"
        rival.in_recovery = True
        rival.restart()
        await write
        assert sent(router, "replica-1") == ["w2"]
        assert sent(router, "replica-2") == []


@in_virtual_time
async def test_whichever_node_is_the_primary_keeps_most_of_its_connections_for_writes() -> None:
    async with fleet(2, node={"max_connections": 8}) as router:
        sizes = {name: node.reads.limits.max_size for name, node in router.engine.board.nodes.items()}
        assert sizes == {"primary": 2, "replica-1": 8, "replica-2": 8}
        await router.fetch(READ)
        promote(router.world["replica-1"])
        await router.execute("w", timeout_s=1.0)
        await pass_time(2.0)
        sizes = {name: node.reads.limits.max_size for name, node in router.engine.board.nodes.items()}
        assert sizes == {"primary": 8, "replica-1": 2, "replica-2": 8}


@in_virtual_time
async def test_a_connection_that_is_handed_over_while_a_rival_appears_is_not_lent() -> None:
    async with fleet(node={"max_connections": 1}) as router:
        async with router.write():
            waiting = asyncio.ensure_future(router.execute("w", timeout_s=1.0))
            await settle()
        row = promote(router.world["replica-1"], timeline=1).row()
        seen = read_observation(row, now_s(), now_s())
        router.engine.board.observe("replica-1", seen)  # it has been handed the connection, and not yet woken
        with pytest.raises(SplitBrain):
            await waiting
        assert sent(router, "primary") == []


# another cluster


@in_virtual_time
async def test_another_cluster_is_refused_until_it_is_accepted() -> None:
    async with fleet() as router:
        await router.execute("w1")
        for server in router.world.servers.values():
            server.system_id = 8
            server.restart()
        with pytest.raises(PrimaryUnavailable, match=r"primary belongs to another cluster \(8\)"):
            await router.execute("w2", timeout_s=1.0)
        await pass_time(2.0)
        with pytest.raises(PrimaryUnavailable):
            await router.fetch(READ)
        with pytest.raises(ConfigurationError, match="primary 8") as caught:
            router.accept_cluster(9)
        assert caught.value.hint
        write = asyncio.ensure_future(router.execute("w3"))
        await pass_time(1.0)
        router.accept_cluster(8)
        await write
        assert sent(router, "primary") == ["w1", "w3"]
        await pass_time(2.0)
        assert (await router.fetch(READ))[0][0] != "primary"


@in_virtual_time
async def test_to_accept_the_present_cluster_again_changes_nothing() -> None:
    async with fleet() as router, router.write():
        before = router.topology
        router.accept_cluster(7)
        assert router.topology is before


@in_virtual_time
async def test_writes_on_the_old_cluster_are_cut_when_the_new_one_is_accepted() -> None:
    async with fleet() as router:

        async def write() -> None:
            async with router.write() as conn:
                moved = promote(router.world["replica-1"], timeline=1)
                moved.system_id = 8
                moved.restart()
                await pass_time(2.0)
                assert conn.alive
                router.accept_cluster(8)
                assert not conn.alive

        with pytest.raises(PrimaryUnavailable, match="surely not committed"):
            await write()
        await router.execute("w")
        assert sent(router, "replica-1") == ["w"]


# what became of a write


async def _write(router: FakeAsyncRouter, error: BaseException, **options: Any) -> None:
    async with router.write(**options) as conn:
        if isinstance(error, Exception) and getattr(error, "fault", None) and error.fault.lost:  # type: ignore[attr-defined]
            conn.cut()
        raise error


@in_virtual_time
@pytest.mark.parametrize(
    ("error", "options", "told"),
    [
        (lost(), {}, PrimaryUnavailable),
        (lost(), {"transaction": False}, OutcomeUnknown),
        (sql_error("57P01", fatal=True), {}, PrimaryUnavailable),
        (sql_error("57P01", fatal=True), {"transaction": False}, OutcomeUnknown),
    ],
    ids=["in a transaction", "in autocommit", "ended in a transaction", "ended in autocommit"],
)
async def test_a_connection_that_is_lost_in_the_block(
    error: Exception, options: dict[str, Any], told: type[PgfleetError]
) -> None:
    async with fleet() as router:
        with pytest.raises(told) as caught:
            await _write(router, error, **options)
        assert caught.value.__cause__ is error
        assert caught.value.hint


@in_virtual_time
@pytest.mark.parametrize("error", [sql_error("23505"), ValueError("mine"), sql_error("40001")], ids=repr)
@pytest.mark.parametrize("transaction", [True, False])
async def test_an_error_of_the_callers_passes_as_it_is(error: Exception, transaction: bool) -> None:
    async with fleet() as router:
        with pytest.raises(type(error)) as caught:
            await _write(router, error, transaction=transaction)
        assert caught.value is error


@in_virtual_time
async def test_an_error_of_the_callers_passes_although_the_connection_is_gone_too() -> None:
    async with fleet() as router:
        router.world["primary"].rollback_error = lost()
        with pytest.raises(ValueError, match="mine"):
            await _write(router, ValueError("mine"))


@in_virtual_time
async def test_a_commit_that_is_lost_on_the_wire_has_an_unknown_outcome() -> None:
    async with fleet() as router:
        primary = router.world["primary"]
        primary.answers["commit"] = primary.crash
        with pytest.raises(OutcomeUnknown, match="committed or not") as caught:
            await router.execute("w")
        assert caught.value.__cause__ is not None
        assert "before you try again" in caught.value.hint


@in_virtual_time
async def test_a_commit_that_was_never_sent_is_surely_not_done() -> None:
    async with fleet() as router:
        with pytest.raises(PrimaryUnavailable, match="before COMMIT was sent"):
            async with router.write() as conn:
                conn.cut()
        assert ("primary", "commit") not in router.world.trace


@in_virtual_time
async def test_a_commit_that_the_server_refuses_is_the_callers() -> None:
    """As a deferred constraint does."""
    async with fleet() as router:

        def refuse() -> None:
            raise sql_error("23503")

        router.world["primary"].answers["commit"] = refuse
        with pytest.raises(Exception, match="error 23503"):
            await router.execute("w")


@in_virtual_time
async def test_a_write_that_meets_a_standby_is_surely_not_done() -> None:
    """The server was demoted without its connections being ended, as behind a proxy."""
    async with fleet(**SLOW_PROBES) as router:
        await router.execute("w0")
        demoted = router.world["primary"]
        demoted.answers["w"] = sql_error("25006")
        demoted.in_recovery, demoted.timeline = True, 2
        promote(router.world["replica-1"])
        with pytest.raises(PrimaryUnavailable, match="surely not committed"):
            await router.execute("w")
        await router.execute("w")
        assert sent(router, "replica-1") == ["w"]


@in_virtual_time
async def test_a_read_only_transaction_of_the_callers_is_the_callers() -> None:
    async with fleet() as router:
        router.world["primary"].answers["w"] = sql_error("25006")
        with pytest.raises(Exception, match="error 25006"):
            await router.execute("w")


@in_virtual_time
@pytest.mark.parametrize("transaction", [True, False])
async def test_a_connection_that_died_while_it_was_idle_costs_no_write(transaction: bool) -> None:
    """Told between the lease and its first statement: nothing was sent, so another connection is taken."""
    async with fleet() as router:
        await _use(router, transaction)
        primary = router.world["primary"]
        [idle] = [conn for conn in primary.connections if _is_pooled(router, conn)]
        if transaction:
            primary.answers["begin"] = idle.cut
        else:
            asyncio.get_running_loop().call_soon(idle.cut)
        await _use(router, transaction)
        assert not idle.alive


@in_virtual_time
@pytest.mark.parametrize("transaction", [True, False])
async def test_a_write_that_is_cancelled_at_its_edges_leaves_nothing_behind(transaction: bool) -> None:
    async with fleet() as router:
        for turns in range(6):
            write = asyncio.ensure_future(_use(router, transaction))
            for _ in range(turns):
                await asyncio.sleep(0)
            write.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await write
            assert leases(router) == 0


def _is_pooled(router: FakeAsyncRouter, conn: FakeConnection) -> bool:
    return any(pooled.raw is conn for pooled in router.engine.board.nodes["primary"].writes._idle)


async def _use(router: FakeAsyncRouter, transaction: bool) -> None:
    async with router.write(transaction=transaction) as conn:
        assert conn.alive


# the primary is dead, or full, and nobody is promoted


@in_virtual_time
@pytest.mark.parametrize("how", ["dead", "full"])
async def test_plain_reads_go_on_for_as_long_as_the_primary_is_away(how: str) -> None:
    async with fleet() as router:
        await pass_time(2.0)
        primary = router.world["primary"]
        primary.crash()
        if how == "full":
            primary.refuses = sql_error("53300", fatal=True)
        for _ in range(600):
            await pass_time(0.1)
            assert (await router.fetch(READ))[0][0] != "primary"
        with pytest.raises(PgfleetError) as caught:
            await router.fetch(READ, max_lag_s=5.0)
        assert how == "full" or Reason.STALE in str(caught.value)
        assert {n.reason for n in router.explain(max_lag_s=5.0).nodes[1:]} == {Reason.STALE}
        primary.restart()
        await pass_time(2.0)
        assert (await router.fetch(READ, max_lag_s=5.0))[0][0] != "primary"
