"""Reads that run again elsewhere, reads that are sent twice, and the primary under both."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pgfleet.core.hedge import FEWEST_TIMES
from pgfleet.local import LocalFleet
from tests.faces import FACES, PORT, Conn, Face, Router, aside, environ, port
from tests.fault.load import becomes

pytestmark = pytest.mark.parametrize("face", FACES, ids=str)
REPLICAS = ("replica-1", "replica-2", "replica-3")
CONFLICTED = "select inet_server_port() from conflicted, pg_sleep(0.02)"
EXISTS = "select 1 where to_regclass('conflicted') is not null"
CONFLICTS = "select coalesce(sum(confl_lock), 0) from pg_stat_database_conflicts"


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    """One whose replicas cancel at once whatever keeps them from replaying."""
    with LocalFleet.temporary(settings={"max_standby_streaming_delay": "0"}) as fleet:
        yield fleet


@pytest.fixture(autouse=True)
def mended(fleet: LocalFleet) -> Iterator[None]:
    """Whatever a test breaks is whole again for the next."""
    yield
    LocalFleet.up(fleet.directory)


class Callers:
    """Any number of callers, each beginning again when it is answered, and what they met."""

    def __init__(self) -> None:
        self.done = 0
        self.errors: list[BaseException] = []
        self.running = True

    async def call(self, use: Any) -> None:
        while self.running:
            try:
                await use()
                self.done += 1
            except Exception as error:
                self.errors.append(error)
            await asyncio.sleep(0.01)

    async def more(self, count: int) -> None:
        wanted = self.done + count
        await becomes(lambda: self.done >= wanted or bool(self.errors), 60.0)


@asynccontextmanager
async def calling(count: int, *uses: Any) -> Any:
    """So many callers of each of these; afterwards none of them has met an error."""
    groups = [Callers() for _ in uses]
    tasks = [
        asyncio.ensure_future(group.call(use))
        for group, use in zip(groups, uses, strict=True)
        for _ in range(count)
    ]
    try:
        yield groups
    finally:
        for group in groups:
            group.running = False
        await asyncio.wait(tasks)
    assert [error for group in groups for error in group.errors] == []


def _lent(router: Router) -> int:
    return sum(pool.active + pool.waiting for pools in router.raw.pool_stats().values() for pool in pools)


def _conflicts(fleet: LocalFleet) -> int:
    return sum(int(fleet.sql(name, CONFLICTS)[0][0]) for name in REPLICAS)


async def test_conflicts_with_replay_cost_no_read(face: Face, fleet: LocalFleet) -> None:
    setup = (
        "drop table if exists conflicted; create table conflicted (i int); insert into conflicted values (1)"
    )
    await aside(fleet.sql, "primary", setup)

    async def in_function(conn: Conn) -> Any:
        return await conn.value(CONFLICTED)

    async with face.open(environ(fleet)) as router:
        await becomes(lambda: all(fleet.sql(name, EXISTS) for name in REPLICAS))
        before = await aside(_conflicts, fleet)
        uses = (lambda: router.value(CONFLICTED), lambda: router.run_read(in_function))
        async with calling(6, *uses) as callers:
            while await aside(_conflicts, fleet) < before + 30:
                await aside(fleet.sql, "primary", "truncate conflicted; insert into conflicted values (1)")
                await asyncio.gather(*(group.more(6) for group in callers))
        assert all(router.raw.is_healthy(name) for name in REPLICAS)
        assert _lent(router) == 0


async def test_a_read_that_crashes_its_backend_never_reaches_the_primary(
    face: Face, fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgfleet.engine.retries.LOOK_S", 20.0)
    killed = []

    async def poison(conn: Conn) -> None:
        pid, server = (await conn.rows("select pg_backend_pid(), inet_server_port()"))[0]
        killed.append(server)
        os.kill(pid, signal.SIGKILL)
        await conn.rows("select pg_sleep(300)")

    async with face.open(environ(fleet)) as router:
        with pytest.raises(Exception) as raised:
            await router.run_read(poison)
        assert any("as if it crashed them" in note for note in raised.value.__notes__)
        assert len(set(killed)) == len(killed) >= 2
        assert port(fleet, "primary") not in killed
        await becomes(lambda: all(router.raw.is_healthy(name) for name in REPLICAS))


async def test_writes_flow_while_all_replicas_are_dead_and_reads_storm(face: Face, fleet: LocalFleet) -> None:
    await aside(fleet.sql, "primary", "drop table if exists written; create table written (i int)")
    settings = environ(fleet, DB_MAX_CONNECTIONS="16")
    async with face.open(settings) as router:

        async def write() -> None:
            await router.execute("insert into written values (1)")

        storm = [lambda: router.value(PORT)] * 12
        async with calling(4, write, *storm) as (writers, *readers):
            await writers.more(20)
            for name in REPLICAS:
                await aside(fleet.kill, name)
            await asyncio.gather(*(group.more(20) for group in readers))
            await writers.more(100)
            assert await router.value(PORT) == port(fleet, "primary")
            reads = router.raw.pool_stats()["primary"][0]
            assert reads.active + reads.idle <= 4, "a quarter of its connections"
        assert _lent(router) == 0
    written = await aside(fleet.sql, "primary", "select count(*) from written")
    assert int(written[0][0]) == writers.done


async def test_hedged_reads_on_a_frozen_replica_are_answered_by_another(
    face: Face, fleet: LocalFleet
) -> None:
    async with face.open(environ(fleet)) as router:

        async def read() -> None:
            await router.value(PORT, hedge=True)

        for _ in range(FEWEST_TIMES):
            await read()
        async with calling(8, read) as (readers,):
            await readers.more(50)
            await aside(fleet.freeze, "replica-1")
            try:
                await readers.more(100)
                await becomes(lambda: "replica-1" not in router.candidates())
            finally:
                await aside(fleet.thaw, "replica-1")
            await becomes(lambda: "replica-1" in router.candidates())
            await readers.more(50)
        await becomes(lambda: _lent(router) == 0)


async def test_the_loser_of_a_hedged_read_stops_on_its_server(face: Face, fleet: LocalFleet) -> None:
    """A statement that is quick at first and then slow wherever it runs first: the second answers."""
    sql = "select pg_sleep(case when inet_server_port() = $1 then 300 else 0 end), 'hedged'"
    running = "select 1 from pg_stat_activity where state = 'active' and query like 'select pg_sleep(case%'"
    async with face.open(environ(fleet)) as router:
        for _ in range(FEWEST_TIMES):
            await router.fetch(sql, 0, hedge=True)
        for _ in range(6):
            await router.fetch(sql, port(fleet, "replica-2"), hedge=True)
        await becomes(lambda: fleet.sql("replica-2", running) == [])
        await becomes(lambda: _lent(router) == 0)
        assert all(router.raw.is_healthy(name) for name in REPLICAS)
