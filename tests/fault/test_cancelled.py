"""A caller that gives up leaves nothing behind, whether the server answers or is frozen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pgfleet.local import LocalFleet
from pgfleet.testing import eventually_async
from tests.faces import FACES, Conn, Face, Router, aside, environ
from tests.fault.load import becomes

TASKS = pytest.mark.parametrize("face", [face for face in FACES if not face.threaded], ids=str)
SLEEP = "select pg_sleep(300), 'to be cancelled'"
RUNNING = "select 1 from pg_stat_activity where state = 'active' and query like 'select pg_sleep(300)%'"
REPLICA = "replica-1"


async def _in_block(router: Router) -> None:
    async with router.read() as conn:
        await conn.rows(SLEEP)


async def _in_transaction(router: Router) -> None:
    async with router.read(transaction=True) as conn:
        await conn.rows(SLEEP)


async def _in_function(router: Router) -> None:
    async def sleep(conn: Conn) -> None:
        await conn.rows(SLEEP)

    await router.run_read(sleep)


USES: dict[str, Callable[[Router], Any]] = {
    "fetch": lambda router: router.fetch(SLEEP),
    "fetch in time": lambda router: router.fetch(SLEEP, timeout_s=600.0),
    "read": _in_block,
    "transaction": _in_transaction,
    "run_read": _in_function,
}


def _one_replica(fleet: LocalFleet, **changes: str) -> dict[str, str]:
    env = environ(fleet, **changes)
    return {name: value for name, value in env.items() if "REPLICA_2" not in name and "REPLICA_3" not in name}


def _lent(router: Router) -> int:
    return sum(pool.active + pool.waiting for pools in router.raw.pool_stats().values() for pool in pools)


async def _runs(fleet: LocalFleet, wanted: bool) -> None:
    async def so() -> bool:
        return bool(await aside(fleet.sql, REPLICA, RUNNING)) is wanted

    await eventually_async(so, within_s=20)


@TASKS
@pytest.mark.parametrize("use", USES)
async def test_a_cancelled_read_gives_all_back_and_stops_on_the_server(
    face: Face, use: str, fleet: LocalFleet
) -> None:
    async with face.open(_one_replica(fleet)) as router:
        task = asyncio.ensure_future(USES[use](router))
        await _runs(fleet, True)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert _lent(router) == 0
        await _runs(fleet, False)
        assert await router.value("select 1") == 1


@TASKS
@pytest.mark.parametrize("use", USES)
async def test_a_read_on_a_frozen_server_can_be_cancelled(face: Face, use: str, fleet: LocalFleet) -> None:
    async with face.open(_one_replica(fleet)) as router:
        task = asyncio.ensure_future(USES[use](router))
        await _runs(fleet, True)
        try:
            fleet.freeze(REPLICA)  # and no turn of the loop before its caller cancels it
            task.cancel()
            await asyncio.wait([task], timeout=8.0)  # psycopg by itself takes ten
            assert task.cancelled()
            assert _lent(router) == 0
        finally:
            await aside(fleet.thaw, REPLICA)
        await becomes(lambda: router.raw.is_healthy(REPLICA))


@pytest.mark.parametrize("face", FACES, ids=str)
@pytest.mark.parametrize("what", ["read", "run_read"])
async def test_what_is_no_error_but_an_interruption_gives_all_back(
    face: Face, what: str, fleet: LocalFleet
) -> None:
    class Interruption(BaseException):
        """As KeyboardInterrupt, but the test survives it."""

    async def interrupted(conn: Conn) -> None:
        await conn.rows("select 1")
        raise Interruption

    async def in_block(router: Router) -> None:
        async with router.read() as conn:
            await interrupted(conn)

    async with face.open(_one_replica(fleet)) as router:
        with pytest.raises(Interruption):
            await (in_block(router) if what == "read" else router.run_read(interrupted))
        assert _lent(router) == 0
        assert await router.value("select 1") == 1
