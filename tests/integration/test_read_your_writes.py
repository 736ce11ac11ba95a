"""Reads of what was just written, on real servers: one replica late, one paused, and a promotion that loses writes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgfleet import AsyncReplicaRouter, ReplicaRouter, WritesLost
from pgfleet.local import LocalFleet
from tests.faces import FACES, PORT, Face, aside, environ, port
from tests.fault.load import becomes

COUNT = "select count(*) from own_write where org = $1"
COUNT_AT = "select count(*), inet_server_port() from own_write where org = $1"
WRITE = "insert into own_write (org) values ($1)"
SECRET = {"PGFLEET_TOKEN_SECRET": "0123456789abcdef" * 2}
EACH = pytest.mark.parametrize("face", FACES, ids=str)


@pytest.fixture(scope="module", autouse=True)
def table(fleet: LocalFleet) -> None:
    fleet.sql("primary", "create table own_write (org int)")


@pytest.fixture
def switched() -> Iterator[LocalFleet]:
    """A fleet for one switchover."""
    with LocalFleet.temporary() as fleet:
        yield fleet


@EACH
async def test_no_own_write_is_missed_while_replicas_are_late(face: Face, fleet: LocalFleet) -> None:
    await aside(fleet.sql, "primary", "truncate own_write")
    await aside(fleet.lag, "replica-1", 0.2)
    await aside(lambda: fleet.lag("replica-2", paused=True))
    try:
        async with face.open(environ(fleet, PGFLEET_CATCHUP_WAIT_MS="2000")) as router:
            served: Counter[int] = Counter()

            async def org(number: int) -> None:
                for writes in range(1, 11):
                    await router.execute(WRITE, number, org_id=number)
                    ((seen, at),) = await router.fetch(COUNT_AT, number, org_id=number)
                    assert seen == writes
                    served[at] += 1

            await asyncio.gather(*map(org, range(8)))
            assert served[port(fleet, "replica-3")] > 0, "it replays at once"
            assert served[port(fleet, "replica-2")] == 0, "it replays nothing"
    finally:
        await aside(fleet.lag, "replica-1", 0)
        await aside(fleet.lag, "replica-2", 0)


async def test_a_session_sees_its_writes_and_never_less(fleet: LocalFleet) -> None:
    await aside(fleet.sql, "primary", "truncate own_write")
    await aside(fleet.lag, "replica-1", 0.2)
    try:
        async with AsyncReplicaRouter.from_env(environ(fleet), driver="asyncpg") as router:

            async def request(number: int) -> None:
                with router.session():
                    seen = 0
                    for _ in range(5):
                        await router.execute(WRITE, number)
                        counts = [await router.fetch_value(COUNT, number) for _ in range(4)]
                        assert counts[0] > seen
                        assert counts == sorted(counts)
                        seen = counts[-1]

            async with asyncio.TaskGroup() as group:
                for number in range(8):
                    group.create_task(request(number))
    finally:
        await aside(fleet.lag, "replica-1", 0)


@EACH
async def test_a_token_is_honoured_by_another_router(face: Face, fleet: LocalFleet) -> None:
    known = environ(fleet, PGFLEET_CATCHUP_WAIT_MS="2000", **SECRET)
    await aside(fleet.sql, "primary", "truncate own_write")
    await aside(fleet.lag, "replica-1", 0.2)
    await aside(lambda: fleet.lag("replica-2", paused=True))
    try:
        async with face.open(known) as router, face.open(known) as other:
            for writes in range(1, 16):
                await router.execute(WRITE, 1, org_id=1)
                token = await face.call(router.raw.token, org_id=1)
                ((seen, at),) = await other.fetch(COUNT_AT, 1, after=token)
                assert seen == writes
                assert at != port(fleet, "replica-2")
            assert await other.value(COUNT, 1, after=token + "x") >= 0, (
                "none of ours: as if it were not there"
            )
    finally:
        await aside(fleet.lag, "replica-1", 0)
        await aside(fleet.lag, "replica-2", 0)


@EACH
async def test_a_session_moves_only_to_who_shows_no_less(face: Face, fleet: LocalFleet) -> None:
    """It has read on the server that is then stopped, while another stands still."""
    await aside(fleet.sql, "primary", "truncate own_write")
    async with face.open(environ(fleet)) as router:
        with router.raw.session():
            ((_, at),) = await router.fetch(COUNT_AT, 1)
            mine, other, *_ = sorted(fleet.names[1:], key=lambda name: port(fleet, name) != at)
            await aside(lambda: fleet.lag(other, paused=True))
            try:
                await aside(fleet.sql, "primary", "insert into own_write values (1)")
                await becomes_async(lambda: router.value(COUNT, 1), 1)
                assert (await router.fetch(COUNT_AT, 1))[0][1] == at, "it stays"
                await aside(fleet.kill, mine)
                for _ in range(10):
                    ((seen, where),) = await router.fetch(COUNT_AT, 1)
                    assert seen == 1
                    assert where not in (at, port(fleet, other))
            finally:
                await aside(fleet.lag, other, 0)
                await aside(fleet.start, mine)


async def becomes_async(ask: Callable[[], Awaitable[int]], wanted: int) -> None:
    for _ in range(400):
        if await ask() == wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{await ask()} instead of {wanted}")


def test_sessions_of_threads_are_their_own(fleet: LocalFleet) -> None:
    fleet.sql("primary", "truncate own_write")
    with ReplicaRouter.from_env(environ(fleet)) as router, ThreadPoolExecutor(4) as threads:

        def request(number: int) -> tuple[bool, bool]:
            with router.session() as session:
                before = session.wrote
                if number % 2:
                    router.execute(WRITE.replace("$1", "%s"), number)
                    assert router.fetch_value(COUNT.replace("$1", "%s"), number) == 1
                return before, session.wrote

        told = list(threads.map(request, range(40)))
    assert told == [(False, bool(number % 2)) for number in range(40)]


async def test_a_bound_in_bytes_leaves_out_who_is_further_behind(fleet: LocalFleet) -> None:
    await aside(lambda: fleet.lag("replica-2", paused=True))
    try:
        await aside(fleet.sql, "primary", "insert into own_write select 1 from generate_series(1, 5000)")
        async with AsyncReplicaRouter.from_env(environ(fleet), driver="asyncpg") as router:
            ports = {await router.fetch_value(PORT, max_lag_bytes=1000) for _ in range(12)}
            assert ports == {port(fleet, "replica-1"), port(fleet, "replica-3")}
    finally:
        await aside(fleet.lag, "replica-2", 0)


async def test_a_switchover_after_a_sample_loses_nothing(switched: LocalFleet) -> None:
    fleet = switched
    async with AsyncReplicaRouter.from_env(environ(fleet) | SECRET, driver="asyncpg") as router:
        await router.execute("create table own_write (org int)")
        with router.session():
            await router.execute(WRITE, 1, org_id=1)
            token = await router.token(org_id=1)
            await becomes(lambda: len(router.explain(org_id=1).candidates) == 4)
            await aside(fleet.stop, "primary")
            await aside(fleet.promote, "replica-1")
            for name in ("replica-2", "replica-3"):
                await aside(fleet.rejoin, name)
            await becomes(lambda: router.topology.primary_name == "replica-1")
            await becomes(lambda: router.explain().candidates[0] != "replica-1", 30.0)
            for options in ({"org_id": 1}, {"after": token}, {}):
                ((seen, at),) = await router.fetch(COUNT_AT, 1, **options)
                assert seen == 1
                assert at != port(fleet, "replica-1")


async def test_writes_that_a_promotion_lost_are_told_once(fleet: LocalFleet) -> None:
    async with AsyncReplicaRouter.from_env(environ(fleet) | SECRET, driver="asyncpg") as router:
        await router.execute(WRITE, 1, org_id="early")
        early = await router.token(org_id="early")
        await becomes(lambda: len(router.explain(org_id="early").candidates) == 4)
        for name in fleet.names[1:]:
            await aside(lambda name=name: fleet.lag(name, paused=True))
        await router.execute(WRITE, 2, org_id="late")
        late = await router.token(org_id="late")
        for name in fleet.names[1:]:
            await aside(fleet.freeze, name)
        await aside(fleet.kill, "primary")
        for name in fleet.names[1:]:
            await aside(fleet.thaw, name)
        await aside(fleet.promote, "replica-1")
        for name in ("replica-2", "replica-3"):
            await aside(fleet.lag, name, 0)
            await aside(fleet.rejoin, name)
        await becomes(lambda: router.topology.primary_name == "replica-1")
        await becomes(lambda: router.explain().candidates[0] != "replica-1", 30.0)
        known = {row[0] for row in await router.fetch("select org from own_write", prefer_replica=False)}
        lost = 2 not in known
        for options in ({"org_id": "late"}, {"after": late}):
            if lost:
                with pytest.raises(WritesLost, match="timeline 1 to 2"):
                    await router.fetch_value(PORT, **options)
            at = await router.fetch_value(PORT, **options)
            assert at != port(fleet, "replica-1"), "nobody is pinned to the primary"
        for options in ({"org_id": "early"}, {"after": early}):
            assert await router.fetch_value(COUNT, 1, **options) >= 1
