"""Where reads and writes go, and what a transaction is, on every face, driver and server."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AbstractAsyncContextManager

import pytest

from pgfleet.errors import PgfleetError
from pgfleet.local import LocalFleet
from tests.faces import FACES, PORT, Conn, Face, environ, port, ports_of, sqlstate

pytestmark = pytest.mark.parametrize("face", FACES, ids=str)
REPLICAS = ("replica-1", "replica-2", "replica-3")


@pytest.fixture(autouse=True)
def table(any_fleet: LocalFleet) -> None:
    any_fleet.sql("primary", "drop table if exists note; create table note (id int primary key, text text)")


def by_node(fleet: LocalFleet, ports: list[int]) -> Counter[str]:
    names = {port(fleet, name): name for name in fleet.names}
    return Counter(names[port] for port in ports)


async def fail_inside(lease: AbstractAsyncContextManager[Conn], sql: str, error: Exception) -> None:
    """Write, and let the block end by the caller's own error."""
    async with lease as conn:
        await conn.rows(sql)
        raise error


# which node


async def test_reads_go_round_the_replicas_evenly(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        assert by_node(any_fleet, await ports_of(router, 30)) == dict.fromkeys(REPLICAS, 10)
        leases = []
        for _ in range(9):
            async with router.read() as conn:
                leases.append(await conn.value(PORT))
        assert by_node(any_fleet, leases) == dict.fromkeys(REPLICAS, 3)


async def test_weights_share_the_reads_out(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet, READ_REPLICA_2_WEIGHT="3")) as router:
        shares = by_node(any_fleet, await ports_of(router, 50))
        assert shares == {"replica-1": 10, "replica-2": 30, "replica-3": 10}


async def test_least_in_flight_gives_ties_in_turn_and_spares_the_busy(
    face: Face, any_fleet: LocalFleet
) -> None:
    async with face.open(environ(any_fleet, PGFLEET_POLICY="least_in_flight")) as router:
        assert by_node(any_fleet, await ports_of(router, 30)) == dict.fromkeys(REPLICAS, 10)
        async with router.read() as conn:
            busy = await conn.value(PORT)
            others = await ports_of(router, 10)
        assert busy not in others
        assert len(set(others)) == 2


async def test_concurrent_reads_are_shared_out_too(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        await ports_of(router, 3)
        ports = await asyncio.gather(*(router.value(PORT) for _ in range(60)))
        shares = by_node(any_fleet, ports)
        assert set(shares) == set(REPLICAS)
        assert min(shares.values()) >= 8  # who waits for a new connection takes any node's


@pytest.mark.parametrize(
    "changes",
    [
        {"USE_READ_REPLICAS": "false"},
        {"USE_READ_REPLICAS": None},
        {
            f"READ_REPLICA_{n}_{what}": None
            for n in (1, 2, 3)
            for what in ("CONNECTION_STRING", "MIN_CONNECTIONS")
        },
    ],
    ids=["disabled", "unset", "none configured"],
)
async def test_without_replicas_everything_works_on_the_primary(
    face: Face, any_fleet: LocalFleet, changes: dict[str, str | None]
) -> None:
    async with face.open(environ(any_fleet, **changes)) as router:
        assert not router.raw.has_replicas()
        assert set(await ports_of(router, 5)) == {port(any_fleet, "primary")}
        await router.execute("insert into note values ($1, $2)", 1, "alone")
        assert await router.value("select text from note where id = $1", 1) == "alone"
        async with router.read(transaction=True) as conn:
            assert await conn.value("select count(*) from note") == 1
        assert router.raw.is_healthy("primary")


async def test_a_critical_read_asks_the_primary(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        assert set(await ports_of(router, 5, prefer_replica=False)) == {port(any_fleet, "primary")}
        async with router.read(prefer_replica=False) as conn:
            assert await conn.value(PORT) == port(any_fleet, "primary")


async def test_a_bounded_read_asks_a_replica(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        ports = await ports_of(router, 20, max_lag_s=0.5)
        assert port(any_fleet, "primary") not in ports


# what a caller gets


async def test_placeholders_rows_and_values(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        rows = await router.fetch("select $1::int as a, $2::text as b", 7, "seven")
        assert [tuple(row) for row in rows] == [(7, "seven")]
        one = await face.call(router.raw.fetch_one, face.sql("select $1::int, 2"), 1)
        assert tuple(one) == (1, 2)
        assert await face.call(router.raw.fetch_one, "select 1 where false") is None
        assert await router.value("select 1 where false") is None
        assert await router.value("select null") is None
        assert await router.execute("insert into note values ($1, $2), (3, 'x')", 2, "%s $1") == "INSERT 0 2"
        assert (await router.fetch("select 100 % 7 as rest"))[0][0] == 2


async def test_run_read_runs_a_function_on_one_connection(face: Face, any_fleet: LocalFleet) -> None:
    async def two(conn: Conn) -> list[int]:
        return [await conn.value("select pg_backend_pid()") for _ in range(2)]

    async with face.open(environ(any_fleet)) as router:
        first, second = await router.run_read(two)
        assert first == second


async def test_the_callers_own_errors_pass_unchanged(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        with pytest.raises(Exception, match="division by zero") as caught:
            await router.fetch("select 1/0")
        assert sqlstate(caught.value) == "22012"
        assert not isinstance(caught.value, PgfleetError)
        with pytest.raises(ValueError, match="mine"):
            async with router.read():
                raise ValueError("mine")
        assert all(router.raw.is_healthy(name) for name in any_fleet.names)


# writes and transactions


async def test_write_is_a_transaction_as_the_driver_has_it(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        async with router.write() as conn:
            await conn.rows("insert into note values (1, 'kept')")
        with pytest.raises(KeyError):
            await fail_inside(router.write(), "insert into note values (2, 'in doubt')", KeyError())
        ids = [row[0] for row in await router.fetch("select id from note order by id", prefer_replica=False)]
        assert ids == ([1, 2] if face.driver == "asyncpg" else [1])


@pytest.mark.parametrize("transaction", [True, False])
async def test_write_in_a_transaction_or_not_if_the_caller_says_so(
    face: Face, any_fleet: LocalFleet, transaction: bool
) -> None:
    async with face.open(environ(any_fleet)) as router:
        async with router.write(transaction=transaction) as conn:
            await conn.rows("insert into note values (1, 'kept')")
        lease = router.write(transaction=transaction)
        with pytest.raises(KeyError):
            await fail_inside(lease, "insert into note values (2, 'in doubt')", KeyError())
        ids = [row[0] for row in await router.fetch("select id from note order by id", prefer_replica=False)]
        assert ids == ([1] if transaction else [1, 2])
        async with router.write(transaction=True) as conn:
            assert await conn.value("select count(*) from note") == len(ids)


async def test_an_error_that_only_the_commit_tells(face: Face, any_fleet: LocalFleet) -> None:
    any_fleet.sql(
        "primary", "create table once (id int, constraint one unique (id) deferrable initially deferred)"
    )
    try:
        async with face.open(environ(any_fleet)) as router:
            with pytest.raises(Exception, match="one") as caught:
                async with router.write(transaction=True) as conn:
                    await conn.rows("insert into once values (1), (1)")
            assert sqlstate(caught.value) == "23505"
            async with router.write(transaction=True) as conn:
                assert await conn.value("select count(*) from once") == 0
    finally:
        any_fleet.sql("primary", "drop table once")


async def test_reads_are_in_autocommit(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        for options in ({}, {"prefer_replica": False}):
            async with router.read(**options) as conn:
                moments = {await conn.value("select transaction_timestamp()") for _ in range(2)}
            assert len(moments) == 2


async def test_a_read_transaction_is_one_snapshot_and_read_only(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        async with router.read(transaction=True, prefer_replica=False) as conn:
            assert await conn.value("select current_setting('transaction_isolation')") == "repeatable read"
            assert await conn.value("select current_setting('transaction_read_only')") == "on"
            assert await conn.value("select count(*) from note") == 0
            await router.execute("insert into note values (1, 'later')")
            assert await conn.value("select count(*) from note") == 0
        assert await router.value("select count(*) from note", prefer_replica=False) == 1
        async with router.read(transaction=True) as conn:
            assert await conn.value(PORT) != port(any_fleet, "primary")
        async with router.write(transaction=True) as conn:
            assert await conn.value("select current_setting('transaction_isolation')") == "read committed"


@pytest.mark.parametrize("prefer_replica", [True, False], ids=["replica", "primary"])
async def test_a_read_lease_takes_no_writes_and_says_so(
    face: Face, any_fleet: LocalFleet, prefer_replica: bool
) -> None:
    async with face.open(environ(any_fleet)) as router:
        await router.execute("insert into note values (1, 'one')")
        await seen_by_all_replicas(any_fleet)
        with pytest.raises(Exception, match="read-only") as caught:
            async with router.read(prefer_replica=prefer_replica) as conn:
                await conn.rows("delete from note")
        assert sqlstate(caught.value) == "25006"
        assert any("use write()" in note for note in caught.value.__notes__)
        with pytest.raises(Exception, match="read-only") as caught:
            await router.fetch("delete from note returning id", prefer_replica=prefer_replica)
        assert sqlstate(caught.value) == "25006"
        assert await router.value("select count(*) from note", prefer_replica=False) == 1
        assert all(router.raw.is_healthy(name) for name in any_fleet.names)
        assert set(router.candidates()) == set(any_fleet.names)


async def seen_by_all_replicas(fleet: LocalFleet) -> None:
    """Every replica has the table `note` with what the primary has in it."""
    wanted = fleet.sql("primary", "select count(*) from note")

    def replayed(name: str) -> bool:
        return fleet.sql(name, "select to_regclass('note') is not null") == [("t",)] and (
            fleet.sql(name, "select count(*) from note") == wanted
        )

    async with asyncio.timeout(10):
        while not all(replayed(name) for name in REPLICAS):
            await asyncio.sleep(0.02)


# reading one's own writes


async def test_an_org_sees_its_own_write_at_once(face: Face, any_fleet: LocalFleet) -> None:
    any_fleet.lag("replica-2", 1.0)
    try:
        async with face.open(environ(any_fleet)) as router:
            await router.execute("insert into note values (0, '')", org_id=7)
            for number in range(40):
                if number % 2:
                    await router.execute("update note set text = $1", str(number), org_id=7)
                else:
                    async with router.write(org_id=7) as conn:
                        await conn.rows("update note set text = $1", str(number))
                        assert await router.value("select 1", org_id=7) == 1  # goes to the primary meanwhile
                assert await router.value("select text from note", org_id=7) == str(number)
                async with router.read(org_id=7) as conn:
                    assert await conn.value("select text from note") == str(number)
    finally:
        any_fleet.lag("replica-2", 0)


async def test_an_org_that_wrote_comes_back_to_the_replicas(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        await router.execute("insert into note values (1, 'x')", org_id=7)
        async with asyncio.timeout(10):
            while await router.value(PORT, org_id=7) == port(any_fleet, "primary"):
                await asyncio.sleep(0.02)
        assert await router.value("select text from note", org_id=7) == "x"


async def test_a_rolled_back_write_still_counts_and_harms_nobody(face: Face, any_fleet: LocalFleet) -> None:
    async with face.open(environ(any_fleet)) as router:
        lease = router.write(org_id="hotel", transaction=True)
        with pytest.raises(KeyError):
            await fail_inside(lease, "insert into note values (1, 'x')", KeyError())
        assert await router.value("select count(*) from note", org_id="hotel") == 0
        assert await router.value("select 1", org_id="other") == 1
