"""Which reads run again, and how many of them: the engine in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pgfleet import LeaseTimeout, Overloaded, PgfleetError, PrimaryUnavailable, ReadTimeout
from pgfleet.core.budget import RETRY_BURST
from tests.fakes import (
    FakeAsyncRouter,
    FakeConnection,
    FakeError,
    in_virtual_time,
    lost,
    pass_time,
    sql_error,
)
from tests.unit.test_engine import CLEAN, fetched, fleet, served_by, write

SPENT = "retry budget"


def crashing(router: FakeAsyncRouter, back_after_s: float) -> Callable[[str], Callable[[], Any]]:
    """A statement that crashes its backend: the server is down for a while, and back in the same life."""
    loop = asyncio.get_running_loop()

    def on(name: str) -> Callable[[], Any]:
        server = router.world[name]

        def come_back() -> None:
            server.refuses = None

        def crash() -> Any:
            server.crash()
            loop.call_later(back_after_s, come_back)
            return lost()

        return crash

    return on


# the budget


@in_virtual_time
async def test_an_outage_is_not_amplified() -> None:
    async with fleet(2) as router:
        for server in router.world.servers.values():
            server.answers["q"] = sql_error("40001") if server.in_recovery else [("primary",)]
        failed = []
        for _ in range(400):
            try:
                await router.fetch("q")
            except FakeError as error:
                failed.append(error)
        assert all(SPENT in error.__notes__[0] for error in failed)
        again = sum(fetched(router.world).values()) - 400
        assert 100 <= again <= RETRY_BURST + 0.2 * 400


@in_virtual_time
async def test_without_a_budget_the_drivers_error_passes_with_a_note() -> None:
    async with fleet(2, retry_budget=0.0) as router:
        error = sql_error("40001")
        for name in ("replica-1", "replica-2"):
            router.world[name].answers["q"] = error
        with pytest.raises(FakeError) as raised:
            await router.fetch("q")
        assert raised.value is error
        assert "PGFLEET_RETRY_BUDGET=0)" in error.__notes__[0]
        assert sum(fetched(router.world).values()) == 1


@in_virtual_time
async def test_conflicts_everywhere_end_on_the_primary() -> None:
    async with fleet(3) as router:
        for name in ("replica-1", "replica-2", "replica-3"):
            router.world[name].answers["q"] = sql_error("40P01")
        assert await router.fetch("q") == [("primary",)]
        assert fetched(router.world) == dict.fromkeys(router.world.servers, 1)


@pytest.mark.parametrize("conflicts", [2, 3, 99])
@in_virtual_time
async def test_without_a_primary_conflicts_everywhere_are_met_by_a_second_round(conflicts: int) -> None:
    async with fleet(2) as router:
        await served_by(router)
        router.world["primary"].crash()
        left = [conflicts]

        def answer() -> Any:
            left[0] -= 1
            return sql_error("40001") if left[0] >= 0 else [("a replica",)]

        for name in ("replica-1", "replica-2"):
            router.world[name].answers["q"] = answer
        if conflicts < 4:
            assert await router.fetch("q") == [("a replica",)]
        else:
            with pytest.raises(PrimaryUnavailable):
                await router.fetch("q")
        assert sum(fetched(router.world).values()) == 1 + min(conflicts + 1, 4)
        router.world["primary"].restart()
        await pass_time(1.0)


@in_virtual_time
async def test_a_block_is_never_run_twice() -> None:
    async with fleet(2) as router:
        runs = []

        async def use() -> None:
            async with router.read() as conn:
                runs.append(conn.server.name)
                raise lost()

        with pytest.raises(FakeError):
            await use()
        assert len(runs) == 1


@in_virtual_time
async def test_a_statement_of_the_monitoring_ends_in_time() -> None:
    async with fleet(1) as router:
        assert await router.engine.fetch_from("replica-1", "q") == [("replica-1",)]
        router.world["replica-1"].silent = True
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(ReadTimeout):
            await router.engine.fetch_from("replica-1", "q", timeout_s=1.5)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(1.5)
        router.world["replica-1"].silent = False


# a read that ends servers


@in_virtual_time
async def test_a_read_that_crashes_its_backend_takes_two_servers_and_no_more() -> None:
    async with fleet(3) as router:
        crash = crashing(router, 0.2)
        for name, server in router.world.servers.items():
            server.answers["poison"] = crash(name)
        with pytest.raises(FakeError) as raised:
            await router.fetch("poison")
        assert "as if it crashed them" in raised.value.__notes__[0]
        assert sum(fetched(router.world).values()) == 2
        assert await served_by(router)


@in_virtual_time
async def test_a_server_that_died_for_good_was_not_crashed_by_the_read() -> None:
    async with fleet(2) as router:
        dead, hurt = router.world["replica-1"], router.world["replica-2"]

        def die() -> Any:
            dead.crash()
            return lost()

        dead.answers["q"] = die
        hurt.answers["q"] = crashing(router, 0.2)("replica-2")
        assert await router.fetch("q") == [("primary",)]
        assert sum(fetched(router.world).values()) == 3


@in_virtual_time
async def test_who_waits_for_word_of_servers_waits_no_longer_than_his_caller() -> None:
    async with fleet(3) as router:
        for server in router.world.servers.values():
            server.answers["q"] = lambda server=server: server.crash() or lost()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with pytest.raises(FakeError) as raised:
            await router.fetch("q", timeout_s=0.2)
        assert loop.time() - began_s == pytest.approx(0.2)
        assert "its time is over" in raised.value.__notes__[0]
        assert sum(fetched(router.world).values()) == 2
        for server in router.world.servers.values():
            server.restart()
        await pass_time(1.0)


@in_virtual_time
async def test_who_waits_for_fresh_knowledge_waits_no_longer_than_his_caller() -> None:
    async with fleet(2, health_check_interval_s=30.0) as router:
        await pass_time(5.5)
        for server in router.world.servers.values():
            server.silent = True
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with pytest.raises(PgfleetError):
            await router.fetch(CLEAN, timeout_s=0.1, max_lag_s=0.05)
        assert loop.time() - began_s == pytest.approx(0.1)
        for server in router.world.servers.values():
            server.silent = False
        await pass_time(1.0)


@in_virtual_time
async def test_a_read_whose_servers_die_goes_on_to_the_last() -> None:
    async with fleet(3) as router:
        for name in ("replica-1", "replica-2", "replica-3"):
            server = router.world[name]
            server.answers["q"] = lambda server=server: server.crash() or lost()
        assert await router.fetch("q") == [("primary",)]


@in_virtual_time
async def test_a_read_whose_connections_the_network_cuts_goes_on() -> None:
    """Those of the probes are cut too, and so is the first that is opened next."""
    async with fleet(3) as router:
        loop = asyncio.get_running_loop()
        for name in ("replica-1", "replica-2"):
            server = router.world[name]
            server.latency_s = 0.002

            def mend(server: Any = server) -> None:
                server.refuses = None

            def cut(server: Any = server, mend: Any = mend) -> Any:
                server.crash()
                loop.call_later(0.003, mend)
                return lost()

            server.answers["q"] = cut
        assert await router.fetch("q") == [("replica-3",)]


@in_virtual_time
async def test_a_read_whose_servers_restart_goes_on() -> None:
    async with fleet(3) as router:
        loop = asyncio.get_running_loop()
        for name in ("replica-1", "replica-2"):
            server = router.world[name]

            def die(server: Any = server) -> Any:
                server.crash()
                loop.call_later(0.2, server.restart)
                return lost()

            server.answers["q"] = die
        assert (await router.fetch("q"))[0][0] in ("replica-3", "primary")


# reads that fall to the primary


@in_virtual_time
async def test_reads_without_a_replica_take_turns_at_the_rate() -> None:
    async with fleet(2, fallback_rate=10.0) as router:
        for name in ("replica-1", "replica-2"):
            router.world[name].crash()
        while await served_by(router) != "primary":
            pass
        await pass_time(5.0)
        began_s = asyncio.get_running_loop().time()
        for _ in range(10):
            assert await served_by(router) == "primary"
        assert asyncio.get_running_loop().time() - began_s < 0.01, "a second of them at once"
        assert await asyncio.gather(*(served_by(router) for _ in range(20))) == ["primary"] * 20
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(2.0, abs=0.1)


@in_virtual_time
async def test_a_read_whose_turn_comes_too_late_says_which_cap_it_met() -> None:
    async with fleet(1, fallback_rate=1.0) as router:
        router.world["replica-1"].crash()
        await served_by(router)
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(LeaseTimeout, match=r"1 reads per second .PGFLEET_FALLBACK_RATE.*OVERLOAD=wait"):
            await router.fetch(CLEAN, timeout_s=0.5)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(0.5, abs=0.06)


@in_virtual_time
async def test_who_waits_for_a_turn_takes_a_replica_that_comes_back() -> None:
    async with fleet(1, fallback_rate=1.0) as router:
        router.world["replica-1"].crash()
        assert await served_by(router) == "primary"
        waiting = asyncio.gather(*(served_by(router) for _ in range(20)))
        await pass_time(0.3)
        router.world["replica-1"].restart()
        assert (await asyncio.wait_for(waiting, 3.0)).count("replica-1") >= 17


@in_virtual_time
async def test_shed_refuses_at_once_beyond_the_rate_and_beyond_the_share() -> None:
    async with fleet(1, fallback_rate=1.0, overload="shed") as router:
        router.world["replica-1"].crash()
        await served_by(router)
        with pytest.raises(Overloaded, match="PGFLEET_OVERLOAD=shed"):
            await router.fetch(CLEAN)
    async with fleet(1, overload="shed") as router:
        router.world["replica-1"].crash()
        async with router.read() as conn:
            assert conn.server.name == "primary", "its one connection of four"
            with pytest.raises(Overloaded):
                await router.fetch(CLEAN)


@in_virtual_time
async def test_stale_answers_plain_reads_from_a_replica_that_lags() -> None:
    async with fleet(1, fallback_rate=1.0, overload="stale", connection_timeout_s=0.5) as router:
        write(router.world, 5000)
        await pass_time(30.0)
        assert await served_by(router) == "primary"
        assert {await served_by(router) for _ in range(10)} == {"replica-1"}
        with pytest.raises(LeaseTimeout, match="PGFLEET_OVERLOAD=stale"):
            await router.fetch(CLEAN, max_lag_s=1.0)
        router.world["replica-1"].crash()
        await pass_time(2.0)
        assert await served_by(router) == "primary", "when its turn comes"


@in_virtual_time
async def test_the_caps_are_for_reads_that_find_no_replica() -> None:
    async with fleet(1, fallback_rate=1.0, overload="shed") as router:
        assert [await served_by(router, prefer_replica=False) for _ in range(20)] == ["primary"] * 20
    for options in ({"use_replicas": False}, {"replicas": 0}):
        async with fleet(**{"replicas": 1, "fallback_rate": 1.0, "overload": "shed"} | options) as router:  # type: ignore[arg-type]
            assert [await served_by(router) for _ in range(20)] == ["primary"] * 20


@in_virtual_time
async def test_writes_find_their_connections_while_reads_storm_the_primary() -> None:
    async with fleet(2) as router:
        for name in ("replica-1", "replica-2"):
            router.world[name].crash()
        router.world["primary"].latency_s = 0.01
        stop = asyncio.Event()

        async def storm() -> None:
            while not stop.is_set():
                await router.fetch(CLEAN)

        readers = [asyncio.ensure_future(storm()) for _ in range(64)]
        await pass_time(1.0)
        for _ in range(50):
            began_s = asyncio.get_running_loop().time()
            await router.execute("w")
            assert asyncio.get_running_loop().time() - began_s < 0.1
        stop.set()
        await asyncio.gather(*readers)


@in_virtual_time
@pytest.mark.parametrize("timeout_s", [0, -1.0, float("nan")])
async def test_a_time_that_is_over_before_it_begins_is_one_clear_error(timeout_s: float) -> None:
    async with fleet(1) as router:
        for call in (
            lambda: router.fetch("select 1", timeout_s=timeout_s),
            lambda: router.run_read(_nothing, timeout_s=timeout_s),
            lambda: router.execute("select 1", timeout_s=timeout_s),
        ):
            with pytest.raises(ValueError, match="timeout_s must be above 0"):
                await call()
        with pytest.raises(ValueError, match="timeout_s must be above 0"):
            router.read(timeout_s=timeout_s)


async def _nothing(conn: FakeConnection) -> None:
    """A read that reads nothing."""
