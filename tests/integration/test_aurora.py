"""Amazon Aurora as far as a PostgreSQL can play it: one with the functions that Aurora has. Never the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from pgfleet import PrimaryUnavailable
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually, eventually_async
from tests.faces import FACES, PORT, Face, Router, environ, placed, plain_environ, port
from tests.rotating import rotating

EACH = pytest.mark.parametrize("face", FACES, ids=str)
REPLICAS = ("replica-1", "replica-2", "replica-3")
SECRET = {"PGFLEET_TOKEN_SECRET": "s" * 32}
MAKE = """
create table aurora_lag (port int primary key, lag_ms float8, at timestamptz);
create function aurora_version() returns text language sql as 'select ''15.4.2''';
create function aurora_db_instance_identifier() returns text language sql as 'select inet_server_port()::text';
create function aurora_replica_status()
  returns table (server_id text, session_id text, replica_lag_in_msec float8, last_update_timestamp timestamptz)
  language sql as 'select port::text, ''x'', lag_ms, coalesce(at, now()) from aurora_lag';
grant select on aurora_lag to public;
"""
DROP = """
drop function if exists aurora_version(), aurora_db_instance_identifier(), aurora_replica_status();
drop table if exists aurora_lag;
"""


def everywhere(fleet: LocalFleet, condition: str) -> None:
    """Wait until this holds on every replica."""
    for name in REPLICAS:
        eventually(partial(_holds, fleet, name, condition))


def _holds(fleet: LocalFleet, name: str, condition: str) -> bool:
    try:
        return fleet.sql(name, condition) == [("t",)]
    except RuntimeError:  # what it speaks of is not there yet
        return False


@contextmanager
def aurora(fleet: LocalFleet, **lags_ms: float) -> Iterator[None]:
    """The fleet, with functions of those names and readers that say that they are so late."""
    lags = [lags_ms.get(name.replace("-", "_"), 20.0) for name in REPLICAS]
    rows = ", ".join(f"({port(fleet, name)}, {lag})" for name, lag in zip(REPLICAS, lags, strict=True))
    fleet.sql("primary", f"{MAKE} insert into aurora_lag values {rows}")
    try:
        everywhere(fleet, "select count(*) = 3 from aurora_lag")
        yield
    finally:
        fleet.sql("primary", DROP)
        everywhere(fleet, "select to_regproc('aurora_version') is null")


async def long_after(router: Router) -> None:
    """Every reader says that it has whatever was written before this."""
    now_s = router.raw.engine.board.now_s()

    async def says_so() -> bool:
        seen = [node.observation for node in router.raw.topology.replicas]
        return all(one.asked_s - one.aurora_lag_s > now_s for one in seen)

    await eventually_async(says_so)


@EACH
async def test_what_must_be_seen_is_read_from_the_primary(
    face: Face, fleet: LocalFleet, caplog: pytest.LogCaptureFixture
) -> None:
    with aurora(fleet):
        async with face.open(environ(fleet) | SECRET) as router:
            replicas = {port(fleet, name) for name in REPLICAS}
            assert {await router.value(PORT) for _ in range(9)} == replicas
            assert await router.value(PORT, org_id=1) in replicas, "it has written nothing"
            await router.execute("create temp table t (n int)", org_id=7)
            assert await router.value(PORT, org_id=7) == port(fleet, "primary")
            await long_after(router)
            for _ in range(5):
                assert await router.value(PORT, org_id=7) == port(fleet, "primary")
            told = router.raw.explain(org_id=7)
            assert (told.must_see, told.candidates) == (
                "something of which Aurora tells no position",
                ("primary",),
            )
            assert [node.satisfied for node in told.nodes] == [True, False, False, False]
            assert all("Amazon Aurora" in node.detail for node in told.nodes[1:])
            with pytest.raises(PrimaryUnavailable):
                await face.call(router.raw.token)
            warned = [r for r in caplog.records if "Aurora" in r.getMessage()]
            assert len(warned) == 1
            assert "has not been tested" in warned[0].getMessage()


@pytest.mark.parametrize("face", FACES[:2], ids=str)
async def test_a_session_that_wrote_reads_the_primary(face: Face, fleet: LocalFleet) -> None:
    with aurora(fleet):
        async with face.open(environ(fleet)) as router:
            with router.raw.session():
                first = await router.value(PORT)
                assert first != port(fleet, "primary")
                assert {await router.value(PORT) for _ in range(5)} == {first}
                await router.execute("create temp table t (n int)")
                assert {await router.value(PORT) for _ in range(5)} == {port(fleet, "primary")}


@EACH
async def test_its_own_word_bounds_the_other_reads(face: Face, fleet: LocalFleet) -> None:
    with aurora(fleet, replica_2=2_000.0, replica_3=60_000.0):
        async with face.open(environ(fleet)) as router:
            assert {await router.value(PORT) for _ in range(8)} == {
                port(fleet, "replica-1"), port(fleet, "replica-2")
            }  # fmt: skip
            assert router.reason("replica-3") == "is staler than the read allows"
            assert {await router.value(PORT, max_lag_s=1.0) for _ in range(8)} == {port(fleet, "replica-1")}
            told = {node.name: node.lag_s for node in router.raw.explain().nodes}
            assert 1.9 < told["replica-2"] < 4.0
            fleet.sql("primary", "update aurora_lag set at = now() - interval '1 hour'")

            async def stale() -> bool:
                return router.reason("replica-1") == "is staler than the read allows"

            await eventually_async(stale)


async def test_a_reader_endpoint_of_aurora(fleet: LocalFleet) -> None:
    with aurora(fleet, replica_2=60_000.0), rotating(*(port(fleet, name) for name in REPLICAS[:2])) as proxy:
        given = environ(fleet, READ_REPLICA_1_SHARED_ENDPOINT="true")
        others = {name: None for name in given if name.startswith(("READ_REPLICA_2", "READ_REPLICA_3"))}
        address = proxy.dsn(given["READ_REPLICA_1_CONNECTION_STRING"])
        changes = {"READ_REPLICA_1_CONNECTION_STRING": address, "READ_REPLICA_1_SHARED_ENDPOINT": "true"}
        async with FACES[0].open(environ(fleet, **others, **changes)) as router:
            for _ in range(20):
                assert await router.value(PORT) != port(fleet, "replica-2")
            served = [await router.value(PORT) for _ in range(10)]
            assert port(fleet, "replica-1") in served


@placed(FACES[:1], FACES[:1])
async def test_it_is_recognised_by_a_plain_role_and_nothing_else_is(
    face: Face, placed_fleet: LocalFleet
) -> None:
    fleet = placed_fleet
    async with face.open(plain_environ(fleet)) as router:
        seen = [node.observation for node in router.raw.topology.nodes]
        assert not any(one.is_aurora or one.system_id == 0 for one in seen)
    with aurora(fleet):
        async with face.open(plain_environ(fleet)) as router:
            assert all(node.observation.is_aurora for node in router.raw.topology.nodes)
            assert await router.value(PORT) != port(fleet, "primary")
