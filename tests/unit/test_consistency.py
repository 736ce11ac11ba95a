"""What a read must see: of its org, of its session, of a token. In virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pgfleet import ConfigurationError, NoReplica, PrimaryUnavailable, Secret, TokenError, WritesLost
from tests.fakes import (
    FakeAsyncRouter,
    FakeServer,
    fleet_settings,
    fleet_world,
    in_virtual_time,
    pass_time,
    settle,
)
from tests.unit.test_engine import fleet, served_by, write

SECRETS = (Secret("s" * 32),)
OTHER = (Secret("t" * 32),)


async def wrote(router: FakeAsyncRouter, lsn: int, *replayed_by: str, **options: Any) -> None:
    async with router.write(**options):
        pass
    await pass_time(0.001)
    write(router.world, lsn, *replayed_by)


def samples(router: FakeAsyncRouter) -> int:
    return router.world["primary"].looked_at


# an org


@in_virtual_time
async def test_a_write_that_names_its_org_sends_nothing_more() -> None:
    traces, plain, named = [], dict[str, Any](), {"org_id": 7}
    for options in (plain, named):
        async with fleet(1) as router, contextlib.AsyncExitStack() as stack:
            await pass_time(1.2)
            if options:
                stack.enter_context(router.session())
            async with router.write(**options):
                pass
            await router.execute("w", **options)
            traces.append(list(router.world.trace))
    assert traces[0] == traces[1] != []


@in_virtual_time
async def test_one_question_serves_all_who_wait() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)
        for org in range(20):
            await wrote(router, 2000 + org, "replica-1", org_id=org)
        router.world["primary"].latency_s = 0.002
        before = samples(router)
        served = await asyncio.gather(*(served_by(router, org_id=org) for org in range(20)))
        assert set(served) == {"replica-1"}
        assert samples(router) == before + 1


@in_virtual_time
async def test_nobody_joins_a_question_that_was_sent_before_his_write() -> None:
    async with fleet(1) as router:
        await pass_time(1.2)
        router.world["primary"].latency_s = 0.003
        await wrote(router, 2000, "replica-1", org_id=1)
        first = asyncio.ensure_future(served_by(router, org_id=1))
        await pass_time(0.001)  # the question is under way
        await wrote(router, 3000, org_id=2)
        second = asyncio.ensure_future(served_by(router, org_id=2))
        await pass_time(0.02)
        assert await first == "replica-1"
        assert await second == "primary", "the replica stands at 2000"


@in_virtual_time
async def test_questions_are_kept_to_a_share_of_the_writes() -> None:
    async with fleet(1) as router:
        await pass_time(5.0)
        before, begun_s = samples(router), asyncio.get_running_loop().time()
        for turn in range(500):
            await wrote(router, 2000 + turn, "replica-1", org_id=turn)
            await served_by(router, org_id=turn)
            await pass_time(0.009)
        spent_s = asyncio.get_running_loop().time() - begun_s
        assert samples(router) - before <= 0.15 * 500 + 3 * spent_s + 6
        assert samples(router) - before >= 50


@in_virtual_time
async def test_a_turn_that_would_not_come_in_time_is_not_waited_for() -> None:
    async with fleet(1) as router:
        await pass_time(1.0)
        for turn in range(40):
            await wrote(router, 2000 + turn, "replica-1", org_id=turn)
            begun_s = asyncio.get_running_loop().time()
            served = await served_by(router, org_id=turn)
            if served == "primary":
                assert asyncio.get_running_loop().time() == begun_s
                return
    raise AssertionError("every write had a question of its own")


@in_virtual_time
async def test_no_wait_goes_to_the_primary_at_once() -> None:
    async with fleet(1, catchup_wait_ms=0.0) as router:
        await pass_time(1.2)
        await served_by(router, prefer_replica=False)  # its connection is open
        await wrote(router, 2000, "replica-1", org_id=7)
        before = samples(router)
        assert await served_by(router, org_id=7) == "primary"
        assert samples(router) == before


@in_virtual_time
async def test_it_waits_for_a_replica_that_is_about_to_have_it() -> None:
    async with fleet(1, catchup_wait_ms=100.0) as router:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        reading = asyncio.ensure_future(served_by(router, org_id=7))
        await pass_time(0.03)
        router.world["replica-1"].replay_lsn = 2000
        assert await reading == "replica-1"


# when nobody qualifies


@in_virtual_time
async def test_an_error_says_of_each_node_why_not() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        with pytest.raises(NoReplica, match="replica-1 has not replayed what this read must see") as told:
            await router.fetch("select 1", org_id=7, unqualified="error")
        assert told.value.explanation
        assert told.value.explanation.nodes[1].behind_bytes == 1000
        assert await served_by(router, org_id=7) == "primary"


@in_virtual_time
async def test_a_wait_ends_with_a_replica_or_with_the_time() -> None:
    async with fleet(1, unqualified="wait") as router:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        with pytest.raises(NoReplica):
            await router.fetch("select 1", org_id=7, timeout_s=0.5)
        reading = asyncio.ensure_future(served_by(router, org_id=7))
        await pass_time(1.0)
        assert not reading.done()
        router.world["replica-1"].replay_lsn = 2000
        await pass_time(0.5)
        assert await reading == "replica-1"


@in_virtual_time
@pytest.mark.parametrize("policy", ["wait", "error"])
async def test_plain_reads_do_not_go_to_the_primary_either(policy: str) -> None:
    async with fleet(1, unqualified=policy) as router:
        router.world["replica-1"].crash()
        await pass_time(2.0)
        with pytest.raises(NoReplica, match="replica-1 not answering"):
            await router.fetch("select 1", timeout_s=0.5)
        assert await served_by(router, prefer_replica=False) == "primary"
        assert await served_by(router, unqualified="primary") == "primary"


@in_virtual_time
async def test_a_replica_of_unknown_staleness() -> None:
    world = fleet_world(1)
    world["replica-1"].replay_lsn = 500  # before all that we have seen of the primary
    async with FakeAsyncRouter(world, fleet_settings(1)) as router:
        await pass_time(1.0)
        assert await served_by(router) == "primary"
        assert await served_by(router, unknown="open") == "replica-1"
        assert await served_by(router, unknown="open", org_id=7) == "replica-1", "it never wrote"
        await wrote(router, 2000, org_id=7)
        assert await served_by(router, unknown="open", org_id=7) == "primary"
        assert await served_by(router, unknown="closed") == "primary"
    async with FakeAsyncRouter(world, fleet_settings(1, unknown="open")) as router:
        await pass_time(1.0)
        assert await served_by(router) == "replica-1"
        assert await served_by(router, unknown="closed") == "primary"
        assert await served_by(router, max_lag_s=1.0) == "primary", "a bound of its own is strict"


# how it is said


@in_virtual_time
async def test_what_consistency_means() -> None:
    async with fleet(1) as router:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        assert await served_by(router, consistency="strong") == "primary"
        assert await served_by(router, consistency="bounded", org_id=7) == "replica-1"
        assert await served_by(router, consistency="eventual", org_id=7) == "replica-1"
        assert await served_by(router, consistency="session", org_id=7) == "primary"
        with pytest.raises(ValueError, match="needs a session"):
            await router.fetch("select 1", consistency="session")


@in_virtual_time
async def test_a_bound_in_bytes() -> None:
    async with fleet(1) as router:
        write(router.world, 5000)
        await pass_time(1.2)
        assert await served_by(router, max_lag_bytes=4000) == "replica-1"
        assert await served_by(router, max_lag_bytes=3999) == "primary"
    async with fleet(1, health_check_interval_s=30.0, max_lag_s=100.0) as router:
        await pass_time(5.4)
        write(router.world, 9000)
        assert await served_by(router, max_lag_bytes=100) in ("primary", "replica-1")


@in_virtual_time
@pytest.mark.parametrize(
    "wrong",
    [
        {"consistency": "linear"},
        {"unqualified": "stale"},
        {"unknown": "maybe"},
        {"max_lag_bytes": -1},
        {"max_lag_bytes": 0.5},
        {"max_lag_s": 0},
    ],
    ids=str,
)
async def test_what_is_not_meant_is_refused(wrong: dict[str, Any]) -> None:
    async with fleet(1) as router:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            router.read(**wrong)
        with pytest.raises(TypeError, match="max_lag"):
            router.read(max_lag=1)  # type: ignore[call-arg]


# sessions


@in_virtual_time
async def test_a_session_sees_its_own_writes() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)
        with router.session() as session:
            assert await served_by(router) != "primary"
            assert not session.wrote
            await wrote(router, 2000)
            assert session.wrote
            assert await served_by(router) == "primary"
            router.world["replica-2"].replay_lsn = 2000
            assert await served_by(router) == "replica-2"
        assert {await served_by(router) for _ in range(4)} == {"replica-1", "replica-2"}


@in_virtual_time
async def test_a_session_stays_where_it_has_read() -> None:
    async with fleet(3) as router:
        await pass_time(1.2)
        with router.session():
            first = await served_by(router)
            assert {await served_by(router) for _ in range(9)} == {first}
            async with router.read() as conn:
                assert conn.server.name == first


@in_virtual_time
async def test_it_moves_only_to_who_shows_no_less() -> None:
    async with fleet(2) as router:
        write(router.world, 3000, "replica-1")  # replica-2 stays at 1000
        await pass_time(2.5)
        with router.session():
            first = await served_by(router, max_lag_s=5.0)
            while first != "replica-1":
                first = await served_by(router, max_lag_s=0.9)
            router.world["replica-1"].crash()
            assert await served_by(router) == "primary"
            write(router.world, 3000, "replica-2")
            assert await served_by(router) == "replica-2"
            assert await served_by(router) == "replica-2"


@in_virtual_time
async def test_another_life_of_its_server_is_another_server() -> None:
    async with fleet(1) as router:
        write(router.world, 3000, "replica-1")
        await pass_time(2.5)
        with router.session():
            assert await served_by(router) == "replica-1"
            router.world["replica-1"].restart()
            router.world["replica-1"].replay_lsn = 1000
            await pass_time(1.5)
            assert await served_by(router) == "primary"


@in_virtual_time
async def test_two_reads_at_once_leave_it_nowhere() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)
        write(router.world, 2000, "replica-1")
        with router.session():
            served = await asyncio.gather(served_by(router), served_by(router))
            assert set(served) == {"replica-1", "replica-2"}
            assert await served_by(router) == "replica-1", "it has all that either has shown"


@in_virtual_time
async def test_nothing_leaks_from_one_session_to_another() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)

        async def request(writes: bool) -> str:
            with router.session():
                if writes:
                    await wrote(router, 2000)
                return await served_by(router)

        async with asyncio.TaskGroup() as group:
            served = [group.create_task(request(number % 2 == 0)) for number in range(8)]
        assert [task.result() == "primary" for task in served] == [True, False] * 4
        assert await served_by(router) != "primary"


@in_virtual_time
async def test_a_task_of_a_session_is_in_it_and_one_that_outlives_it_is_not() -> None:
    async with fleet(1) as router:
        await pass_time(1.2)
        go = asyncio.Event()

        async def late() -> str:
            await go.wait()
            return await served_by(router)

        with router.session():
            await wrote(router, 2000)
            assert await asyncio.create_task(served_by(router)) == "primary"
            outlives = asyncio.create_task(late())
            await settle()
        go.set()
        assert await outlives == "replica-1"


@in_virtual_time
async def test_the_inner_session_counts_and_tells_the_outer_one() -> None:
    async with fleet(1) as router, fleet(1) as other:
        await pass_time(1.2)
        with router.session() as outer:
            with router.session() as inner, other.session() as foreign:
                await wrote(router, 2000)
                assert inner.wrote
                assert not foreign.wrote
            assert outer.wrote
            assert await served_by(router) == "primary"
            assert await served_by(other) == "replica-1"


# tokens


@in_virtual_time
async def test_a_token_is_seen_by_another_router() -> None:
    world = fleet_world(2)
    known = fleet_settings(2, token_secrets=SECRETS)
    async with FakeAsyncRouter(world, known) as router, FakeAsyncRouter(world, known) as other:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        token = await router.token(org_id=7)
        assert await served_by(other, after=token) == "primary"
        world["replica-2"].replay_lsn = 2000
        assert await served_by(other, after=token) == "replica-2"
        with other.session(after=token):
            assert await served_by(other) == "replica-2"
            assert await other.token() == token
        assert await served_by(other, after=await other.token(org_id="never wrote")) != "primary"
        await wrote(router, 3000)
        assert await served_by(other, after=await router.token()) == "primary", "all that is committed"


@in_virtual_time
@pytest.mark.parametrize("text", ["", "x", "é" * 55, "A" * 55, "A" * 1_000_000])
async def test_no_token_of_ours_is_as_none_at_all(text: str, caplog: pytest.LogCaptureFixture) -> None:
    async with fleet(1, token_secrets=SECRETS) as router:
        await pass_time(1.2)
        with caplog.at_level(logging.WARNING, "pgfleet"):
            for _ in range(5):
                assert await served_by(router, after=text) == "replica-1"
        assert router.engine.tokens.refused == 5
        assert sum("tokens were ignored" in record.message for record in caplog.records) == 1


@in_virtual_time
async def test_tokens_of_other_clusters_and_other_secrets() -> None:
    async with fleet(1, token_secrets=OTHER) as stranger:
        await pass_time(1.2)
        forged = await stranger.token()
    world = fleet_world(1)
    for server in world.servers.values():
        server.system_id = 8
    async with FakeAsyncRouter(world, fleet_settings(1, token_secrets=SECRETS)) as elsewhere:
        await pass_time(1.2)
        foreign = await elsewhere.token()
    async with fleet(1, token_secrets=SECRETS, token_errors="raise") as router:
        await pass_time(1.2)
        for text in (forged, foreign):
            with pytest.raises(TokenError):
                await router.fetch("select 1", after=text)
            with pytest.raises(TokenError):
                router.session(after=text)
    async with fleet(1) as without:
        with pytest.raises(ConfigurationError, match="PGFLEET_TOKEN_SECRET"):
            await without.token()


@in_virtual_time
async def test_many_tokens_cost_one_question() -> None:
    async with fleet(1, token_secrets=SECRETS) as router:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        before = samples(router)
        tokens = await asyncio.gather(*(router.token(org_id=7) for _ in range(20)))
        assert len(set(tokens)) == 1
        assert samples(router) == before + 1
        router.world["primary"].crash()
        await wrote_in_vain(router)
        with pytest.raises(PrimaryUnavailable, match="no token"):
            await router.token(org_id=8)


async def wrote_in_vain(router: FakeAsyncRouter) -> None:
    with pytest.raises(PrimaryUnavailable):
        await router.execute("w", org_id=8, timeout_s=0.1)


# failover


def promote(server: FakeServer, lsn: int) -> None:
    server.in_recovery, server.timeline = False, 2
    server.insert_lsn = server.flush_lsn = lsn
    server.replay_lsn = lsn


@contextlib.asynccontextmanager
async def behind() -> AsyncIterator[tuple[FakeAsyncRouter, FakeAsyncRouter]]:
    """A process that has not yet seen that replica-1 was promoted, and one that has."""
    world = fleet_world(2)
    known = fleet_settings(2, token_secrets=SECRETS, health_check_interval_s=30.0, max_lag_s=100.0)
    async with FakeAsyncRouter(world, known) as router:
        await pass_time(1.2)
        promote(world["replica-1"], 1500)
        world["replica-2"].timeline = 2
        async with FakeAsyncRouter(world, known) as other:
            await pass_time(1.2)
            assert (router.topology.highest_timeline, other.topology.highest_timeline) == (1, 2)
            yield router, other


@in_virtual_time
@pytest.mark.parametrize("policy", ["error", "serve"])
async def test_what_a_promotion_lost_is_told_once(policy: str, caplog: pytest.LogCaptureFixture) -> None:
    async with fleet(2, token_secrets=SECRETS, lost_writes=policy) as router:
        await pass_time(1.2)
        await wrote(router, 1500, "replica-1", "replica-2", org_id="early")
        await pass_time(2.5)
        await wrote(router, 2000, org_id="late")
        token = await router.token(org_id="late")
        router.world["primary"].crash()
        promote(router.world["replica-1"], 1500)
        router.world["replica-2"].timeline = 2
        await pass_time(3.0)
        assert router.topology.primary_name == "replica-1"
        assert await served_by(router, org_id="early") == "replica-2", "it survived"
        holders: list[dict[str, Any]] = [{"org_id": "late"}, {"after": token}]
        for lost in holders:
            if policy == "error":
                with pytest.raises(WritesLost, match="timeline 1 to 2"):
                    await router.fetch("select 1", **lost)
            assert await served_by(router, **lost) == "replica-2"
        assert sum("may have been lost" in record.message for record in caplog.records) == 2


@in_virtual_time
async def test_a_session_is_told_once_too() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)
        with router.session():
            await wrote(router, 2000)
            router.world["primary"].crash()
            promote(router.world["replica-1"], 1000)
            router.world["replica-2"].timeline = 2
            await pass_time(3.0)
            with pytest.raises(WritesLost, match="this session"):
                await router.fetch("select 1")
            assert await served_by(router) == "replica-2"


@in_virtual_time
async def test_a_token_of_a_promotion_that_we_have_not_seen() -> None:
    async with behind() as (router, other):
        await wrote(other, 1000, org_id=7)
        primary = other.world["replica-1"]
        primary.insert_lsn = primary.flush_lsn = 2000
        token = await other.token(org_id=7)
        assert router.topology.highest_timeline == 1
        assert await served_by(router, after=token) == "replica-1", "not the old primary"
        assert router.topology.highest_timeline == 2
