"""What may go wrong around sessions, marks and tokens. In virtual time."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet import NoReplica, PrimaryUnavailable, WritesLost
from pgfleet.board import Session
from pgfleet.board.session import Sight
from pgfleet.core.intent import Seat
from pgfleet.engine.second import NoSecond, SecondFetch
from tests.examples import examples
from tests.fakes import (
    FakeAsyncRouter,
    FakeThreadRouter,
    fleet_settings,
    fleet_world,
    in_virtual_time,
    pass_time,
    sql_error,
)
from tests.unit.test_consistency import SECRETS, behind, promote, wrote
from tests.unit.test_engine import CLEAN, fleet, served_by, write

# a write that never began is over


@in_virtual_time
@pytest.mark.parametrize(
    "wrong", [{"org_id": 7, "timeout_s": -1.0}, {"org_id": ["unhashable"]}], ids=["time", "org"]
)
async def test_a_write_that_was_refused_leaves_nobody_writing(wrong: dict[str, Any]) -> None:
    async with fleet(1) as router:
        await pass_time(1.2)
        with router.session():
            for call in (lambda: router.execute("w", **wrong), lambda: router.write(**wrong).__aenter__()):
                with pytest.raises((ValueError, TypeError)):
                    await call()
            await pass_time(2.5)
            assert await served_by(router) == "replica-1"
            assert await served_by(router, org_id=7) == "replica-1"


# a session shows no less


def at(session: Session, now_s: float = 0.0) -> str | None:
    """Where the next read of this session may show no more than it must; empty: nowhere."""
    seat = session.seat(now_s)
    return seat.name if seat else None


def sight(session: Session, name: str, before: Seat | None) -> Sight:
    read = session.sight(before, (name, "life"))
    read.begin()
    return read


def test_a_read_that_comes_to_another_server_does_not_hide_what_was_shown_meanwhile() -> None:
    """It was made before another read showed more, and goes to a replica that covers only the moment of its making."""
    session = Session(nullcontext())
    sight(session, "a", None).end()
    made_before = session.seat(1.0)
    sight(session, "a", session.seat(2.0)).end()
    sight(session, "b", made_before).end()
    assert at(session) == ""


def test_a_session_goes_along_with_its_only_read() -> None:
    session = Session(nullcontext())
    assert at(session) is None
    for name in ("a", "b", "b", "a"):
        sight(session, name, session.seat(1.0)).end()
        assert at(session) == name


def test_a_block_that_is_still_open_shows_what_is_there_now() -> None:
    session = Session(nullcontext())
    block = sight(session, "a", None)
    assert at(session) == "a"
    sight(session, "b", session.seat(1.0)).end()
    assert at(session) == "", "the next statement of the block may show more than b"
    block.end()
    assert at(session) == ""


def test_what_nobody_saw_moves_nobody() -> None:
    session = Session(nullcontext())
    sight(session, "a", None).end()
    before = session.seat(1.0)
    lost = sight(session, "a", before)
    lost.drop()
    session.sight(before, ("b", "life")).drop()
    assert at(session) == "a"


@examples(300)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab")), max_size=30))
def test_no_read_shows_less_than_one_that_had_ended_before(steps: list[tuple[int, str]]) -> None:
    """A model of two servers: `a` has all that there is, `b` no more than a read that came to it demanded."""
    session = Session(nullcontext())
    replayed_s, shown_s = {"a": 0.0, "b": 0.0}, 0.0
    made: dict[int, tuple[Seat | None, float]] = {}
    opened: dict[int, tuple[str, Sight]] = {}
    for now, (read, name) in enumerate(steps, 1):
        replayed_s["a"] = float(now)
        if read in opened:
            name, seen = opened.pop(read)
            shown_s = max(shown_s, replayed_s[name])
            seen.end()
        elif read in made:
            seat, must_s = made.pop(read)
            if seat and seat.name != name:
                replayed_s[name] = max(replayed_s[name], seat.until_s)
            assert replayed_s[name] >= must_s
            opened[read] = name, sight(session, name, seat)
        else:
            made[read] = session.seat(float(now)), shown_s


@in_virtual_time
async def test_a_session_within_one_sees_what_the_outer_one_wrote_and_read() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)
        with router.session() as outer:
            first = await served_by(router)
            with router.session():
                assert {await served_by(router) for _ in range(4)} == {first}
            await wrote(router, 2000)
            with router.session() as inner:
                assert await served_by(router) == "primary"
                assert not inner.wrote
            assert outer.wrote


@in_virtual_time
async def test_a_second_attempt_that_has_lost_gives_back_a_connection_that_is_nobodys() -> None:
    async with fleet(2, hedge=True) as router:
        await pass_time(1.2)
        engine = router.engine
        with router.session() as session:
            intent = engine.wishes.intent(session)
            first = engine.take(intent) or await engine.borrow(intent, engine.lease_deadline_s())
            second = SecondFetch(engine._hedging, first, CLEAN, (), intent)
            attempt = second.begin()
            assert attempt
            second.cut()
            with pytest.raises(NoSecond):
                await attempt
            await engine.give_back(first)
            first_name = first.pool.owner.name
        for node in engine.board.nodes.values():
            while pooled := node.reads.take():
                assert pooled.seen_by is None
                pooled.pool.give(pooled)
                break
        assert at(session) == first_name


# losses


async def lose(router: FakeAsyncRouter) -> None:
    """A promotion of who has replayed none of what was written lately."""
    router.world["primary"].crash()
    promote(router.world["replica-1"], 1000)
    router.world["replica-2"].timeline = 2
    await pass_time(3.0)


@in_virtual_time
async def test_who_lost_as_an_org_and_as_a_session_is_told_once() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)
        with router.session():
            await wrote(router, 2000, org_id=7)
            await lose(router)
            with pytest.raises(WritesLost):
                await router.fetch(CLEAN, org_id=7)
            for _ in range(3):
                assert await served_by(router, org_id=7) == "replica-2"
                assert await served_by(router) == "replica-2"


@in_virtual_time
async def test_a_session_that_lost_is_told_whoever_had_its_place_in_memory_before() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)
        told = 0
        sessions = []
        for _ in range(20):
            scope = router.session()
            with scope:
                await wrote(router, 2000)
            sessions.append(scope)
        await lose(router)
        while sessions:
            scope = sessions.pop()
            session = scope._session
            session.ended = False
            with pytest.raises(WritesLost):
                router.engine.wishes.intent(session)
            told += 1
            del session, scope
            gc.collect()
        assert told == 20


@in_virtual_time
async def test_inner_and_outer_session_are_told_once_together() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)
        with router.session():
            with router.session():
                await wrote(router, 2000)
                await lose(router)
                with pytest.raises(WritesLost):
                    await router.fetch(CLEAN)
            assert await served_by(router) == "replica-2"


@in_virtual_time
async def test_a_token_is_not_called_lost_while_the_new_primary_has_not_told() -> None:
    async with fleet(2, token_secrets=SECRETS, unqualified="wait") as router:
        await pass_time(1.2)
        await wrote(router, 2000, "replica-1", "replica-2", org_id=7)
        token = await router.token(org_id=7)
        await pass_time(2.5)
        world = router.world
        world["primary"].crash()
        promote(world["replica-1"], 2000)
        world["replica-1"].refuses = ConnectionRefusedError("not yet")
        for conn in list(world["replica-1"].connections):
            conn.cut()
        world["replica-2"].timeline = 2
        await pass_time(2.0)
        assert router.topology.highest_timeline == 2
        assert router.topology.primary is None
        read = asyncio.ensure_future(served_by(router, after=token))
        await pass_time(1.0)
        world["replica-1"].refuses = None
        assert await read == "replica-2", "it has all that the token covers"


@in_virtual_time
async def test_a_read_that_waits_through_a_promotion_is_told_of_its_loss() -> None:
    async with fleet(2, unqualified="wait") as router:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        router.world["primary"].crash()
        read = asyncio.ensure_future(served_by(router, org_id=7))
        await pass_time(2.0)
        promote(router.world["replica-1"], 1000)
        router.world["replica-2"].timeline = 2
        with pytest.raises(WritesLost):
            await read
        assert await served_by(router, org_id=7) == "replica-2"


@in_virtual_time
async def test_a_token_that_waits_through_a_promotion_is_told_of_its_loss() -> None:
    async with fleet(2, token_secrets=SECRETS) as router:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        world = router.world
        world["primary"].latency_s = 0.2
        minted = asyncio.ensure_future(router.token(org_id=7))
        await pass_time(0.01)
        promote(world["replica-1"], 1000)
        world["replica-2"].timeline = 2
        await router.engine.refresh(0.0)
        with pytest.raises(WritesLost):
            await minted
        world["primary"].latency_s = 0.0


@in_virtual_time
async def test_a_token_of_a_session_is_no_less_than_what_it_began_with() -> None:
    async with behind() as (router, other):
        token = await other.token()
        with router.session(after=token):
            async with router.write():
                pass  # on the old primary, as far as this process knows
            began, minted = map(router.engine.tokens.read, (token, await router.token()))
            assert began
            assert minted
            assert (minted.timeline, minted.lsn) >= (began.timeline, began.lsn)
            assert minted.timeline == 2


# load on the primary


@in_virtual_time
async def test_a_full_primary_is_not_asked_in_a_circle() -> None:
    async with fleet(1, token_secrets=SECRETS) as router:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        primary = router.world["primary"]
        for conn in list(primary.connections):
            conn.cut()
        primary.refuses = sql_error("53300", fatal=True)
        tried = 0

        asked = router.engine._watcher.ask

        def ask(name: str) -> Any:
            nonlocal tried
            tried += name == "primary"
            return asked(name)

        router.engine._watcher.ask = ask  # type: ignore[method-assign]
        with pytest.raises(PrimaryUnavailable, match="no token"):
            await router.token(org_id=7)
        assert tried < 60
        primary.refuses = None


# words


@in_virtual_time
async def test_eventual_takes_a_replica_of_which_nothing_else_is_known() -> None:
    async with fleet(1) as router:
        router.world["primary"].insert_lsn = router.world["primary"].flush_lsn = 9000
        await pass_time(3.0)
    world = fleet_world(1)
    world["primary"].insert_lsn = world["primary"].flush_lsn = 9000
    async with FakeAsyncRouter(world, fleet_settings(1)) as router:
        await pass_time(1.2)
        assert await served_by(router) == "primary", "its staleness is unknown"
        assert await served_by(router, consistency="eventual") == "replica-1"
        assert await served_by(router, consistency="eventual", unknown="closed") == "primary"


# explain


@in_virtual_time
async def test_explain_calls_nobody_satisfied_who_is_not_known_to_be() -> None:
    async with fleet(2) as router:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        router.world["replica-1"].crash()
        await pass_time(2.5)
        told = {node.name: node for node in router.explain(org_id=7).nodes}
        assert told["replica-1"].reason != "has not caught up"
        assert told["replica-1"].satisfied is False
        assert told["replica-2"].satisfied is False
        assert told["primary"].satisfied is True
        router.world["replica-2"].replay_lsn = 2000
        await pass_time(2.5)
        assert router.explain(org_id=7).nodes[2].satisfied is True


@in_virtual_time
async def test_the_error_names_what_the_read_had_to_see() -> None:
    async with fleet(1) as router:
        await pass_time(1.2)
        await wrote(router, 2000, org_id=7)
        with pytest.raises(NoReplica) as met:
            await router.fetch(CLEAN, org_id=7, unqualified="error")
        assert met.value.explanation
        assert met.value.explanation.must_see


# threads


def test_a_worker_of_a_pool_is_in_nobodys_session_and_a_copied_context_is() -> None:
    world = fleet_world(1)
    with FakeThreadRouter(world, fleet_settings(1)) as router, ThreadPoolExecutor(2) as pool:
        assert pool.submit(router.fetch, CLEAN).result() == [("replica-1",)]
        with router.session() as session:
            router.execute("w")
            assert session.wrote
            assert pool.submit(router.fetch, CLEAN).result() == [("replica-1",)]

            async def away() -> Any:
                return await asyncio.to_thread(router.fetch, CLEAN)

            write(world, 2000)
            assert asyncio.run(away()) == [("primary",)]
        assert router.fetch(CLEAN) == [("replica-1",)]
