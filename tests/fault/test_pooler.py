"""Each node behind a real PgBouncer in transaction mode: routed, fresh, and without an error when one of both dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from pgfleet import PrimaryUnavailable
from pgfleet.local import LocalFleet
from tests.faces import FACES, PORT, Face, aside, environ, port, sqlstate
from tests.fault.load import becomes, load
from tests.pgbouncer import Bouncer, bouncers

pytestmark = pytest.mark.parametrize("face", FACES, ids=str)
REPLICAS = ("replica-1", "replica-2", "replica-3")


@pytest.fixture(scope="module")
def before(fleet: LocalFleet) -> Iterator[dict[str, Bouncer]]:
    """The bouncers, by the names of the nodes behind them."""
    with bouncers(fleet) as before:
        yield before


def pooled(fleet: LocalFleet, before: dict[str, Bouncer], /, **changes: str | None) -> dict[str, str]:
    """Callers through the bouncers, probes past them."""
    through: dict[str, str | None] = {"PGFLEET_POOLER": "transaction"}
    for number, name in enumerate(fleet.names):
        dsn, probe = "DATABASE_URL", "DATABASE_PROBE_URL"
        if number:
            dsn, probe = f"READ_REPLICA_{number}_CONNECTION_STRING", f"READ_REPLICA_{number}_PROBE_URL"
        through |= {dsn: before[name].dsn, probe: fleet.dsn(name)}
    return environ(fleet, **{**through, **changes})


async def test_reads_and_writes_go_where_they_belong(
    face: Face, fleet: LocalFleet, before: dict[str, Bouncer]
) -> None:
    async with face.open(pooled(fleet, before)) as router:
        assert router.candidates() == (*REPLICAS, "primary")
        ports = {await router.value(PORT) for _ in range(12)}
        assert ports == {port(fleet, name) for name in REPLICAS}
        async with router.write() as conn:
            assert await conn.value(PORT) == port(fleet, "primary")


async def test_callers_share_few_sessions_and_prepare_nothing_in_them(
    face: Face, fleet: LocalFleet, before: dict[str, Bouncer]
) -> None:
    async with face.open(pooled(fleet, before)) as router:

        async def caller(own: int) -> None:
            for _ in range(8):  # psycopg would prepare it at the sixth
                assert await router.value("select $1::int + 1", own) == own + 1
                async with router.read() as conn:
                    assert await conn.value("select $1::int + 2", own) == own + 2

        await asyncio.gather(*(caller(own) for own in range(24)))
        assert await router.value("select count(*) from pg_prepared_statements") == 0


async def test_an_org_reads_what_it_wrote(face: Face, fleet: LocalFleet, before: dict[str, Bouncer]) -> None:
    async with face.open(pooled(fleet, before)) as router:
        table = f"orders_{face.name.replace('-', '_')}"
        await router.execute(f"create table {table} (i int)")
        for i in range(30):
            async with router.write(org_id=7) as conn:
                await conn.rows(f"insert into {table} values ($1)", i)
            assert await router.value(f"select count(*) from {table}", org_id=7) == i + 1
        await router.execute(f"drop table {table}")


async def test_a_transaction_is_one_and_its_settings_end_with_it(
    face: Face, fleet: LocalFleet, before: dict[str, Bouncer]
) -> None:
    own = "select current_setting('app.org_id', true)"
    async with face.open(pooled(fleet, before)) as router:
        async with router.write(transaction=True) as conn:
            await conn.rows("select set_config('app.org_id', '7', true)")
            assert await conn.value(own) == "7"
        async with router.read(transaction=True) as conn:
            assert await conn.value("show transaction_isolation") == "repeatable read"
            assert await conn.value("show transaction_read_only") == "on"
        left = await asyncio.gather(*(router.value(own, prefer_replica=False) for _ in range(20)))
        assert not any(left)


async def test_what_a_caller_leaves_open_is_rolled_back(
    face: Face, fleet: LocalFleet, before: dict[str, Bouncer]
) -> None:
    async with face.open(pooled(fleet, before, DB_MAX_CONNECTIONS="1")) as router:
        async with router.read(prefer_replica=False) as conn:
            for statement in ("begin", "create table left_open (i int)"):
                await conn.rows(statement)
        assert await router.value("select to_regclass('left_open')", prefer_replica=False) is None


async def test_the_pooler_keeps_reads_that_fall_back_from_writing(
    face: Face, fleet: LocalFleet, before: dict[str, Bouncer]
) -> None:
    env = pooled(fleet, before, DATABASE_READ_URL=before["primary"].read_only_dsn)
    async with face.open(env) as router:
        with pytest.raises(Exception, match="read-only") as caught:
            await router.fetch("create table t (i int)", prefer_replica=False)
        assert sqlstate(caught.value) == "25006"
        assert await router.value("show statement_timeout", prefer_replica=False) == "7s"
        async with router.write() as conn:
            assert await conn.value("show transaction_read_only") == "off"


async def test_a_killed_node_behind_its_pooler_costs_no_read(
    face: Face, fleet: LocalFleet, before: dict[str, Bouncer]
) -> None:
    async with face.open(pooled(fleet, before)) as router, load(fleet, router) as seen:
        assert set(await seen.after(60)) == set(REPLICAS)
        under_way = [asyncio.create_task(router.fetch("select pg_sleep(1)")) for _ in REPLICAS]
        await seen.after(60)
        await aside(fleet.kill, "replica-2")
        await asyncio.gather(*under_way)
        try:
            await becomes(lambda: "replica-2" not in router.candidates())
            assert set(await seen.after(100)) == {"replica-1", "replica-3"}
        finally:
            await aside(fleet.start, "replica-2")
        await becomes(lambda: "replica-2" in router.candidates())
        await becomes(lambda: seen.answers["replica-2"] > 0)


async def test_a_frozen_node_behind_its_pooler_costs_no_read(
    face: Face, fleet: LocalFleet, before: dict[str, Bouncer]
) -> None:
    async with face.open(pooled(fleet, before)) as router, load(fleet, router) as seen:
        await aside(fleet.freeze, "replica-1")
        try:
            await becomes(lambda: "replica-1" not in router.candidates())
            assert set(await seen.after(100)) == {"replica-2", "replica-3"}
        finally:
            await aside(fleet.thaw, "replica-1")
        await becomes(lambda: "replica-1" in router.candidates())


async def test_a_killed_pooler_costs_no_read_though_its_node_lives(
    face: Face, fleet: LocalFleet, before: dict[str, Bouncer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pgfleet")
    async with face.open(pooled(fleet, before)) as router, load(fleet, router) as seen:
        assert set(await seen.after(60)) == set(REPLICAS)
        before["replica-3"].kill()
        try:
            await becomes(lambda: "replica-3" not in router.candidates())
            assert set(await seen.after(200)) == {"replica-1", "replica-2"}
            assert router.reason("replica-3") == "not answering"
        finally:
            await aside(before["replica-3"].start)
        await becomes(lambda: "replica-3" in router.candidates())
        await becomes(lambda: seen.answers["replica-3"] > 0)
    told = [r for r in caplog.records if r.getMessage().startswith("replica-3 is out")]
    assert len(told) == 1  # its probes were well all the time, and did not bring it back in between


async def test_a_pooler_that_leads_elsewhere_is_one_clear_reason(
    face: Face, fleet: LocalFleet, before: dict[str, Bouncer]
) -> None:
    """Of two replicas the probe addresses were swapped: each would vouch for the other's position."""
    env = pooled(
        fleet,
        before,
        READ_REPLICA_1_PROBE_URL=fleet.dsn("replica-2"),
        READ_REPLICA_2_PROBE_URL=fleet.dsn("replica-1"),
    )
    async with face.open(env) as router:
        assert {await router.value(PORT) for _ in range(9)} == {port(fleet, "replica-3")}
        trouble = router.raw.topology.node("replica-1").trouble
        assert "leads to another server" in trouble.detail


@pytest.mark.parametrize("probes", ["through the pooler", "past it"])
async def test_a_pooler_that_nobody_spoke_of_is_one_clear_error(
    face: Face, fleet: LocalFleet, before: dict[str, Bouncer], probes: str, caplog: pytest.LogCaptureFixture
) -> None:
    unsaid: dict[str, str | None] = {
        "PGFLEET_POOLER": None,
        "DB_CONNECTION_TIMEOUT": "3s",
    }  # how long a write waits
    if probes == "through the pooler":
        names = ("DATABASE_PROBE_URL", *(f"READ_REPLICA_{number}_PROBE_URL" for number in (1, 2, 3)))
        unsaid |= dict.fromkeys(names)
    async with face.open(pooled(fleet, before, **unsaid)) as router:
        assert "set PGFLEET_POOLER=transaction" in caplog.text
        with pytest.raises(PrimaryUnavailable, match="set PGFLEET_POOLER=transaction"):
            await router.execute("select 1")
