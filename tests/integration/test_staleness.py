"""The proof of freshness against real servers: never staler than said, and never called stale without a cause."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest

from pgfleet.errors import PgfleetError, PrimaryUnavailable
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually, eventually_async
from tests.faces import FACES, PORT, Face, Router, aside, environ, placed, port

REPLICAS = ("replica-1", "replica-2", "replica-3")
EVERYBODY = (*REPLICAS, "primary")


@pytest.fixture(autouse=True)
def table(placed_fleet: LocalFleet) -> None:
    placed_fleet.sql("primary", "drop table if exists mark; create table mark (n int)")


@contextmanager
def session(fleet: LocalFleet, name: str = "primary") -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(fleet.dsn(name), autocommit=True) as conn:
        yield conn


def alone(fleet: LocalFleet, **changes: str | None) -> dict[str, str]:
    """Only replica-1."""
    others = {
        f"READ_REPLICA_{n}_{what}": None for n in (2, 3) for what in ("CONNECTION_STRING", "MIN_CONNECTIONS")
    }
    return environ(fleet, **others, **changes)


async def keeps_everybody(router: Router, for_s: float) -> None:
    """Once every replica is proven fresh, none is left out however often one looks."""
    await becomes(lambda: router.candidates() == EVERYBODY)
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        assert router.candidates() == EVERYBODY, str(router.raw.explain())
        await asyncio.sleep(0.05)


async def becomes(condition: Callable[[], bool]) -> None:
    async def met() -> bool:
        return condition()

    await eventually_async(met)


# never called stale without a cause


@pytest.mark.parametrize("rows", [1, 500], ids=["less than a page", "pages"])
@placed(FACES[:1], FACES[:1])
async def test_an_idle_writer_makes_nobody_stale(face: Face, placed_fleet: LocalFleet, rows: int) -> None:
    placed_fleet.sql("primary", "select pg_switch_wal()")  # the next page is far away
    with session(placed_fleet) as writer:
        async with face.open(environ(placed_fleet, PGFLEET_MAX_LAG_S="4")) as router:
            with writer.transaction():
                writer.execute("insert into mark select generate_series(1, %s)", (rows,))
                unflushed = "select pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()"
                assert placed_fleet.sql("primary", unflushed) == [("t",)]
                await keeps_everybody(router, 6.0)
                assert all(router.raw.is_healthy(name) for name in REPLICAS)
                assert await router.value(PORT, max_lag_s=2.0) != port(placed_fleet, "primary")


@placed(FACES[:1], FACES[:1])
async def test_a_wal_switch_makes_nobody_stale(face: Face, placed_fleet: LocalFleet) -> None:
    settings = environ(placed_fleet, PGFLEET_MAX_LAG_S="2", REPLICA_HEALTH_CHECK_INTERVAL="200")
    async with face.open(settings) as router:
        for _ in range(2):
            placed_fleet.sql("primary", "insert into mark values (1); select pg_switch_wal()")
            await keeps_everybody(router, 2.2)
            assert all(router.raw.is_healthy(name) for name in REPLICAS)
            assert await router.value(PORT, max_lag_s=0.5) != port(placed_fleet, "primary")


# never staler than said


class Ledger:
    """What was written when, by asynchronous commits at random moments."""

    def __init__(self) -> None:
        self.committed: list[float] = []

    def write(self, fleet: LocalFleet, until_s: float) -> None:
        with session(fleet) as writer:
            writer.execute("set synchronous_commit = off")
            while time.monotonic() < until_s:
                writer.execute("insert into mark values (%s)", (len(self.committed) + 1,))
                self.committed.append(time.monotonic())
                time.sleep(random.choice((0, 0, 0.001, 0.05, 0.3)))

    def must_show(self, moment_s: float) -> int:
        """The number of the last row that was committed by then."""
        return sum(1 for committed_s in list(self.committed) if committed_s <= moment_s)


@placed(FACES, FACES[:1])
async def test_an_asynchronous_commit_is_never_missed_beyond_the_bound(
    face: Face, placed_fleet: LocalFleet
) -> None:
    placed_fleet.lag("replica-2", 0.4)
    answered_by = set()
    ledger, until_s = Ledger(), time.monotonic() + 4.0

    async def check(router: Router, bound_s: float) -> None:
        while time.monotonic() < until_s:
            asked_s = time.monotonic()
            rows = await router.fetch(
                "select coalesce(max(n), 0), inet_server_port() from mark", max_lag_s=bound_s
            )
            assert rows[0][0] >= ledger.must_show(asked_s - bound_s)
            answered_by.add((bound_s, rows[0][1]))
            await asyncio.sleep(0.003)

    try:
        async with face.open(environ(placed_fleet)) as router:
            writing = aside(ledger.write, placed_fleet, until_s)
            await asyncio.gather(writing, *(check(router, bound_s) for bound_s in (0.05, 0.3, 0.8, 2.0)))
        assert {(2.0, port(placed_fleet, name)) for name in REPLICAS} <= answered_by
        assert len(ledger.committed) > 20
    finally:
        placed_fleet.lag("replica-2", 0)


def lacks_mark(fleet: LocalFleet, name: str) -> bool:
    """Whether a node has not replayed the row 1, or not even its table."""
    if fleet.sql(name, "select to_regclass('mark') is null") == [("t",)]:
        return True
    return fleet.sql(name, "select count(*) from mark where n = 1") == [("0",)]


@placed(FACES[:2], FACES[:1])
async def test_a_standby_that_comes_back_behind_itself_answers_no_bounded_read(
    face: Face, placed_fleet: LocalFleet
) -> None:
    async with face.open(alone(placed_fleet)) as router:
        assert await router.value(PORT, max_lag_s=1.0) == port(placed_fleet, "replica-1")
        placed_fleet.sql("primary", "insert into mark values (1)")
        written_s = time.monotonic()
        await becomes(lambda: not lacks_mark(placed_fleet, "replica-1"))
        await asyncio.sleep(max(0.0, written_s + 1.1 - time.monotonic()))
        assert await router.value("select count(*) from mark", max_lag_s=1.0) == 1
        await aside(placed_fleet.lag, "replica-1", 4.0)
        try:
            await aside(placed_fleet.kill, "replica-1")
            await aside(placed_fleet.start, "replica-1")
            assert lacks_mark(placed_fleet, "replica-1"), "the standby is not behind itself"
            reads = 0
            while lacks_mark(placed_fleet, "replica-1"):
                assert await router.value("select count(*) from mark", max_lag_s=1.0) == 1
                async with router.read(max_lag_s=1.0) as conn:
                    assert await conn.value("select count(*) from mark") == 1
                reads += 1
            assert reads
        finally:
            await aside(placed_fleet.lag, "replica-1", 0)
        await becomes(lambda: "replica-1" in router.candidates(max_lag_s=1.0))


@placed(FACES[1:2])
@pytest.mark.parametrize("how", ["paused", "walreceiver"])
async def test_the_bound_grows_on_a_standby_that_stands_still(
    face: Face, placed_fleet: LocalFleet, how: str
) -> None:
    def still() -> None:
        if how == "paused":
            placed_fleet.lag("replica-1", paused=True)
        else:
            placed_fleet.sql("replica-1", "alter system set primary_conninfo = ''")
            placed_fleet.sql("replica-1", "select pg_reload_conf()")
            gone = "select count(*) from pg_stat_wal_receiver"
            eventually(lambda: placed_fleet.sql("replica-1", gone) == [("0",)])

    def go_on() -> None:
        placed_fleet.lag("replica-1", 0)
        placed_fleet.sql("replica-1", "alter system reset primary_conninfo")
        placed_fleet.sql("replica-1", "select pg_reload_conf()")

    async with face.open(environ(placed_fleet, PGFLEET_MAX_LAG_S="2")) as router:
        await aside(still)
        try:
            placed_fleet.sql("primary", "insert into mark values (1)")
            await becomes(lambda: router.reason("replica-1") == "is staler than the read allows")
            if how == "walreceiver":
                same = "select pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()"
                assert placed_fleet.sql("replica-1", same) == [("t",)]
            explained = {node.name: node for node in router.raw.explain().nodes}
            assert explained["replica-1"].staleness_bound_s > 2
            assert explained["replica-1"].lag_s > 0.5
            for _ in range(9):
                assert await router.value("select count(*) from mark") == 1
        finally:
            await aside(go_on)
        await becomes(lambda: router.candidates() == EVERYBODY)


@placed(FACES)
async def test_a_bound_is_kept_by_asking_for_fresher_knowledge(face: Face, placed_fleet: LocalFleet) -> None:
    async with face.open(environ(placed_fleet, REPLICA_HEALTH_CHECK_INTERVAL="30000")) as router:
        await asyncio.sleep(1.0)
        for _ in range(3):
            assert await router.value(PORT, max_lag_s=0.5) != port(placed_fleet, "primary")
            await asyncio.sleep(0.6)


# the primary vanishes


@placed(FACES)
async def test_without_a_primary_plain_reads_go_on_and_strict_ones_stop(
    face: Face, placed_fleet: LocalFleet
) -> None:
    async with face.open(environ(placed_fleet, PGFLEET_MAX_LAG_S="1")) as router:
        await router.execute("insert into mark values (1)", org_id=7)
        await aside(placed_fleet.kill, "primary")
        try:
            refused = await eventually_async(lambda: refusal(lambda: router.fetch("select 1", max_lag_s=0.5)))
            assert isinstance(refused, PrimaryUnavailable)
            assert "primary" in str(refused)
            assert refused.hint
            assert "replica-1" in str(refused)
            assert "staler than the read allows" in str(refused)
            await asyncio.sleep(1.0)
            for _ in range(9):  # the bound of 1 s is over, and stands still
                assert await router.value(PORT) != port(placed_fleet, "primary")
                async with router.read() as conn:
                    assert await conn.value("select 1") == 1
            for read in (
                lambda: router.fetch("select 1", max_lag_s=1.0),
                lambda: router.fetch("select 1", prefer_replica=False, timeout_s=0.5),
                lambda: router.execute("insert into mark values (2)", timeout_s=0.5),
            ):
                error = await refusal(read)
                assert isinstance(error, PrimaryUnavailable)
                assert placed_fleet.dsn("primary").split(":")[2].split("@")[0] not in str(error)
        finally:
            await aside(placed_fleet.start, "primary")
        await becomes(lambda: router.candidates(max_lag_s=1.0) == EVERYBODY)
        assert await router.execute("insert into mark values (3)") == "INSERT 0 1"
        assert await router.value("select count(*) from mark", prefer_replica=False) == 2


async def refusal(read: Callable[[], Awaitable[Any]]) -> PgfleetError | None:
    with suppress(asyncio.CancelledError):
        try:
            await read()
        except PgfleetError as error:
            return error
    return None


@placed(FACES[:1])
async def test_an_org_that_wrote_unseen_is_not_shown_the_past_without_a_primary(
    face: Face, placed_fleet: LocalFleet
) -> None:
    try:
        async with face.open(
            environ(placed_fleet)
        ) as router:  # first: how fresh they are is known before they stop
            for name in REPLICAS:
                await aside(placed_fleet.lag, name, paused=True)
            await router.execute("insert into mark values (1)", org_id=7)
            await aside(placed_fleet.kill, "primary")
            assert await refusal(lambda: router.fetch("select count(*) from mark", org_id=7))
            assert await router.value("select count(*) from mark") == 0  # nobody asked for more
    finally:
        await aside(placed_fleet.start, "primary")
        for name in REPLICAS:
            placed_fleet.lag(name, 0)
