"""What writers see when the primary moves: no write to the old one, and none lost that was promised."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import pytest

from pgfleet import ConfigurationError, OutcomeUnknown, PrimaryUnavailable
from pgfleet.core.node import Reason
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually_async
from tests.faces import FACES, PORT, Conn, Face, Router, aside, environ, port
from tests.fault.load import becomes

faces = pytest.mark.parametrize("face", FACES, ids=str)
WRITERS = 8
PAUSE_S = 0.01
INSERT = "insert into booking values ($1, inet_server_port())"


@pytest.fixture
def moving_fleet() -> Iterator[LocalFleet]:
    """A fleet for one test: afterwards another node is the primary."""
    with LocalFleet.temporary(replicas=2) as fleet:
        fleet.sql("primary", "create table booking (id int primary key, written_on int)")
        yield fleet


@dataclass
class Writers:
    """Callers that write without a pause, and do what the errors tell them to."""

    router: Router
    transaction: bool
    numbers: Iterator[int] = field(default_factory=count)
    acknowledged: dict[int, float] = field(default_factory=dict)
    """When each row was, on the clock of `time.monotonic`."""
    unknown: set[int] = field(default_factory=set)
    errors: Counter[str] = field(default_factory=Counter)
    others: list[BaseException] = field(default_factory=list)
    running: bool = True

    async def write(self) -> None:
        """New rows, each tried again for as long as that is said to be safe."""
        while self.running:
            await self._row(next(self.numbers))
            await asyncio.sleep(PAUSE_S)

    async def _row(self, number: int) -> None:
        while self.running:
            try:
                async with self.router.write(transaction=self.transaction) as conn:
                    await conn.rows(INSERT, number)
                self.acknowledged[number] = time.monotonic()
                return
            except PrimaryUnavailable:
                self.errors["try again"] += 1
            except OutcomeUnknown:
                self.unknown.add(number)
                return
            except Exception as error:
                self.others.append(error)
                return

    async def more(self, rows: int = 30) -> None:
        """Wait for so many further rows."""
        wanted = len(self.acknowledged) + rows
        await becomes(lambda: len(self.acknowledged) >= wanted or bool(self.others))


@asynccontextmanager
async def writers(router: Router, transaction: bool) -> AsyncIterator[Writers]:
    load = Writers(router, transaction)
    callers = [asyncio.create_task(load.write()) for _ in range(WRITERS)]
    try:
        await load.more()
        yield load
    finally:
        load.running = False
        await asyncio.gather(*callers)
    assert load.others == []


def rows_of(fleet: LocalFleet, name: str) -> dict[int, int]:
    """What a node has: for each row the port of the server that it was written on."""
    return {int(number): int(on) for number, on in fleet.sql(name, "select id, written_on from booking")}


async def moved(router: Router, name: str) -> None:
    await becomes(lambda: router.raw.topology.writer_name == name)


@faces
@pytest.mark.parametrize("transaction", [True, False], ids=["transaction", "autocommit"])
async def test_a_switchover_loses_no_write(face: Face, moving_fleet: LocalFleet, transaction: bool) -> None:
    """The primary stops cleanly, after which its standbys have all it wrote; then one is promoted."""
    fleet = moving_fleet
    async with face.open(environ(fleet)) as router, writers(router, transaction) as load:
        await aside(fleet.stop, "primary")
        await aside(fleet.promote, "replica-1")
        await load.more()
        await aside(fleet.start, "primary")  # nobody told it: it takes writes again
        await becomes(lambda: router.reason("primary") == Reason.FENCED)
        await load.more()
    rows = rows_of(fleet, "replica-1")
    assert not set(load.acknowledged) - set(rows), "every acknowledged row is there"
    assert set(rows) <= set(load.acknowledged) | load.unknown, "and what was surely not done is not"
    if transaction:
        assert len(load.unknown) <= WRITERS, "only what was committing then"
    since = [number for number, on in rows_of(fleet, "primary").items() if number not in rows]
    assert since == [], "the old primary got nothing of its own"


@faces
async def test_a_returned_old_primary_gets_no_write_and_no_read(face: Face, moving_fleet: LocalFleet) -> None:
    """It was killed: what it had acknowledged and not yet sent to a standby is lost, as PostgreSQL promises no more."""
    fleet = moving_fleet
    old, new = port(fleet, "primary"), port(fleet, "replica-1")
    async with face.open(environ(fleet)) as router, writers(router, True) as load:
        await aside(fleet.kill, "primary")
        await aside(fleet.promote, "replica-1")
        await load.more()
        await aside(fleet.start, "primary")
        there = set(rows_of(fleet, "primary"))
        await becomes(lambda: router.reason("primary") == Reason.FENCED)
        for _ in range(20):
            for options in ({}, {"prefer_replica": False}, {"org_id": 7}):
                assert await router.value(PORT, **options) != old
            await router.execute("select 1", org_id=7)
        await load.more()
        assert set(rows_of(fleet, "primary")) == there
        await aside(fleet.rejoin, "primary")
        await becomes(lambda: "primary" in router.candidates(max_lag_s=5.0))
        assert old in {await router.value(PORT) for _ in range(8)}
    since = [number for number, on in rows_of(fleet, "replica-1").items() if on == new]
    assert since
    assert load.errors["try again"] <= 50 * WRITERS, "a caller that waits does not try in a circle"


@faces
async def test_writes_wait_while_there_is_no_primary(face: Face, moving_fleet: LocalFleet) -> None:
    fleet = moving_fleet
    async with face.open(environ(fleet)) as router:
        await aside(fleet.stop, "primary")
        with pytest.raises(PrimaryUnavailable, match=r"waited .* s\): primary ") as caught:
            await router.execute("select 1", timeout_s=0.5)
        assert "is in recovery" in str(caught.value)
        waiting = [asyncio.create_task(router.execute(INSERT, n)) for n in range(5)]
        await aside(fleet.promote, "replica-1")
        await asyncio.gather(*waiting)
        assert set(rows_of(fleet, "replica-1").values()) == {port(fleet, "replica-1")}


@faces
async def test_an_open_write_on_the_old_primary_is_cut(face: Face, moving_fleet: LocalFleet) -> None:
    """The old primary lives on, as when only an operator's word has made another one."""
    fleet = moving_fleet

    async def write(router: Router) -> None:
        async with router.write(transaction=True) as conn:
            await conn.rows(INSERT, 1)
            await aside(fleet.promote, "replica-1")
            await moved(router, "replica-1")

    async with face.open(environ(fleet)) as router:
        with pytest.raises(PrimaryUnavailable, match="surely not committed"):
            await write(router)
        await router.execute(INSERT, 2)
    assert rows_of(fleet, "primary") == {}
    assert rows_of(fleet, "replica-1") == {2: port(fleet, "replica-1")}


# what became of a write


async def _end_session(fleet: LocalFleet, pid: int) -> None:
    await aside(fleet.sql, "primary", f"select pg_terminate_backend({pid}, 5000)")


async def _cut_in_the_block(fleet: LocalFleet, router: Router, **options: bool) -> None:
    async with router.write(**options) as conn:
        await conn.rows("insert into outcome values (1)")
        await _end_session(fleet, await conn.value("select pg_backend_pid()"))
        await conn.rows("insert into outcome values (2)")


async def _cut_before_commit(fleet: LocalFleet, router: Router) -> None:
    async with router.write(transaction=True) as conn:
        await conn.rows("insert into outcome values (1)")
        await _end_session(fleet, await conn.value("select pg_backend_pid()"))


async def _cut_in_the_statement(fleet: LocalFleet, router: Router, **options: bool) -> None:
    async with router.write(**options) as conn:
        pid = await conn.value("select pg_backend_pid()")
        slow = asyncio.create_task(conn.rows("insert into outcome select 1 from pg_sleep(30)"))
        running = f"select count(*) from pg_stat_activity where pid = {pid} and wait_event = 'PgSleep'"
        await eventually_async(lambda: _is(fleet, running, "1"))
        await _end_session(fleet, pid)
        await slow


async def _is(fleet: LocalFleet, sql: str, value: str) -> bool:
    return bool(await aside(fleet.sql, "primary", sql) == [(value,)])


@pytest.fixture
def outcomes(fleet: LocalFleet) -> LocalFleet:
    fleet.sql("primary", "drop table if exists outcome; create table outcome (n int)")
    return fleet


def count_of(fleet: LocalFleet) -> int:
    return int(fleet.sql("primary", "select count(*) from outcome")[0][0])


@faces
async def test_a_transaction_that_is_cut_before_its_commit_is_surely_not_done(
    face: Face, outcomes: LocalFleet
) -> None:
    async with face.open(environ(outcomes)) as router:
        for block in (_cut_in_the_block, _cut_before_commit, _cut_in_the_statement):
            options = {} if block is _cut_before_commit else {"transaction": True}
            with pytest.raises(PrimaryUnavailable, match="surely not committed") as caught:
                await block(outcomes, router, **options)
            assert "safe to try again" in caught.value.hint
            assert count_of(outcomes) == 0
            await router.execute("select 1")


@faces
async def test_a_statement_in_autocommit_that_is_cut_has_an_unknown_outcome(
    face: Face, outcomes: LocalFleet
) -> None:
    async with face.open(environ(outcomes)) as router:
        with pytest.raises(OutcomeUnknown) as caught:
            await _cut_in_the_statement(outcomes, router, transaction=False)
        assert isinstance(caught.value.__cause__, driver_error(face))
        await router.execute("select 1")


@faces
async def test_a_commit_that_is_cut_has_an_unknown_outcome(face: Face, outcomes: LocalFleet) -> None:
    """A deferred trigger keeps COMMIT busy."""
    outcomes.sql("primary", SLOW_COMMIT)
    async with face.open(environ(outcomes)) as router:
        write = asyncio.create_task(_committed_slowly(router))
        asleep = (
            "select count(*) from pg_stat_activity where query ilike 'commit%' and wait_event = 'PgSleep'"
        )
        await eventually_async(lambda: _is(outcomes, asleep, "1"))
        outcomes.sql(
            "primary",
            "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'commit%'"
            " and wait_event = 'PgSleep'",
        )
        with pytest.raises(OutcomeUnknown, match="committed or not") as caught:
            await write
        assert isinstance(caught.value.__cause__, driver_error(face))
        assert "before you try again" in caught.value.hint


SLOW_COMMIT = """
create or replace function sleep() returns trigger language plpgsql as
$$ begin perform pg_sleep(30); return null; end $$;
create constraint trigger slow after insert on outcome deferrable initially deferred
for each row execute function sleep()
"""


async def _committed_slowly(router: Router) -> None:
    async with router.write(transaction=True) as conn:
        await conn.rows("insert into outcome values (1)")


@faces
async def test_an_idle_connection_that_an_administrator_ended_costs_no_write(
    face: Face, outcomes: LocalFleet
) -> None:
    async with face.open(environ(outcomes)) as router:
        for transaction in (True, False):
            async with router.write(transaction=transaction) as conn:
                pid = await conn.value("select pg_backend_pid()")
            await _end_session(outcomes, pid)
            async with router.write(transaction=transaction) as conn:
                assert await conn.value("select pg_backend_pid()") != pid
            await router.execute("select 1")
        assert router.raw.topology.writer_name == "primary"


@faces
async def test_errors_of_the_callers_sql_pass_as_they_are(face: Face, outcomes: LocalFleet) -> None:
    async def read_only(router: Router) -> None:
        async with router.write(transaction=True) as conn:
            await conn.rows("set transaction read only")
            await conn.rows("insert into outcome values (1)")

    async with face.open(environ(outcomes)) as router:
        with pytest.raises(driver_error(face), match="does not exist"):
            await router.execute("insert into nowhere values (1)")
        with pytest.raises(driver_error(face), match="read-only transaction"):
            await read_only(router)
        assert router.raw.topology.writer_name == "primary"


@pytest.mark.parametrize("face", FACES[1:], ids=str)
async def test_a_block_that_commits_by_itself_is_not_told_to_try_again(
    face: Face, outcomes: LocalFleet
) -> None:
    """psycopg's own `commit()`, and a `transaction()` block that begins one: what came before it is done."""

    async def by_commit(conn: Conn) -> None:
        await conn.rows("insert into outcome values (1)")
        await face.call(conn.raw.commit)

    async def by_block(conn: Conn) -> None:
        async with face.entered(conn.raw.transaction()):
            await conn.rows("insert into outcome values (1)")

    async def write(router: Router, commit: object) -> None:
        async with router.write() as conn:
            await (by_commit(conn) if commit is by_commit else by_block(conn))
            await _end_session(outcomes, await conn.value("select pg_backend_pid()"))
            await conn.rows("insert into outcome values (2)")

    async with face.open(environ(outcomes)) as router:
        for commits, commit in enumerate((by_commit, by_block), 1):
            with pytest.raises(OutcomeUnknown):
                await write(router, commit)
            assert count_of(outcomes) == commits


@faces
async def test_another_cluster_takes_the_writes_once_it_is_accepted(face: Face, fleet: LocalFleet) -> None:
    with LocalFleet.temporary(replicas=0) as other:
        identify = "select system_identifier from pg_control_system()"
        theirs = int(other.sql("primary", identify)[0][0])
        env = environ(fleet, READ_REPLICA_1_CONNECTION_STRING=other.dsn("primary"))
        async with face.open(env) as router:
            async with router.write() as conn:
                assert await conn.value(PORT) == port(fleet, "primary")
            with pytest.raises(ConfigurationError, match=str(theirs)):
                router.raw.accept_cluster(1)
            router.raw.accept_cluster(theirs)
            async with router.write() as conn:
                assert await conn.value(PORT) == port(other, "primary")
            assert await router.value(PORT) == port(other, "primary")
            assert router.reason("primary") == Reason.FOREIGN_CLUSTER


def driver_error(face: Face) -> type[Exception] | tuple[type[Exception], ...]:
    import asyncpg
    import psycopg

    return (asyncpg.PostgresError, asyncpg.InterfaceError) if face.driver == "asyncpg" else psycopg.Error
