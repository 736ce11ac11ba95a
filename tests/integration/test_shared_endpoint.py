"""One address in front of two replicas, one of which replays nothing: on real servers, on every face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgfleet import ReplicaRouter
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually, eventually_async
from tests.faces import FACES, PORT, Conn, Face, Router, aside, environ, port
from tests.rotating import RotatingProxy, rotating

EACH = pytest.mark.parametrize("face", FACES, ids=str)
FRESH, STALE = "replica-1", "replica-2"
COUNT = "select count(*) from shared_notes"


@contextmanager
def endpoint(fleet: LocalFleet) -> Iterator[RotatingProxy]:
    """The proxy in front of a replica that replays and one that does not."""
    fleet.sql("primary", "create table if not exists shared_notes (n int)")
    eventually(lambda: fleet.sql(STALE, "select to_regclass('shared_notes') is not null") == [("t",)])
    fleet.lag(STALE, paused=True)
    try:
        with rotating(port(fleet, FRESH), port(fleet, STALE)) as proxy:
            yield proxy
    finally:
        fleet.lag(STALE, 0)


def through(proxy: RotatingProxy, fleet: LocalFleet, /, **changes: str | None) -> dict[str, str]:
    """The environment of a fleet whose one replica is the endpoint."""
    given = environ(fleet)
    others = {name: None for name in given if name.startswith(("READ_REPLICA_2", "READ_REPLICA_3"))}
    address = proxy.dsn(given["READ_REPLICA_1_CONNECTION_STRING"])
    return environ(
        fleet,
        **{"READ_REPLICA_1_CONNECTION_STRING": address, "READ_REPLICA_1_SHARED_ENDPOINT": "true"}
        | others
        | changes,
    )


async def seen_by_all(router: Router, **options: Any) -> Counter[int]:
    """How many notes each of several readers sees, one after the other, in the ways there are to read."""

    async def count(conn: Conn) -> int:
        return int(await conn.value(COUNT))

    seen = Counter([await router.value(COUNT, **options)])
    seen[await router.run_read(count, **options)] += 1
    async with router.read(**options) as one, router.read(**options) as other:
        seen.update([await count(one), await count(other)])
    async with router.read(transaction=True, **options) as conn:
        seen[await count(conn)] += 1
    return seen


@EACH
async def test_a_reader_of_an_org_never_reads_stale(face: Face, fleet: LocalFleet) -> None:
    with endpoint(fleet) as proxy:
        async with face.open(through(proxy, fleet)) as router:
            notes = int(await router.value(COUNT, prefer_replica=False))
            for _ in range(15):
                await router.execute("insert into shared_notes values (1)", org_id=7)
                notes += 1
                assert await seen_by_all(router, org_id=7) == {notes: 5}

            async def served() -> bool:
                at = await router.value(PORT, org_id=7)
                assert at != port(fleet, STALE)
                return bool(at == port(fleet, FRESH))

            await eventually_async(served)  # when the primary has said where it stands


async def in_session(router: Router) -> Counter[int]:
    """What a session sees after a write of its own."""
    if router.face.threaded:
        return await aside(in_session_of_threads, router.raw)
    with router.raw.session():
        await router.execute("insert into shared_notes values (1)")
        return Counter([await router.value(COUNT) for _ in range(4)])


def in_session_of_threads(router: ReplicaRouter[Any]) -> Counter[int]:
    with router.session():
        router.execute("insert into shared_notes values (1)")
        return Counter([router.fetch_value(COUNT) for _ in range(4)])


@EACH
async def test_sessions_and_tokens_never_read_stale(face: Face, fleet: LocalFleet) -> None:
    with endpoint(fleet) as proxy:
        secret = "s" * 32
        async with face.open(through(proxy, fleet, PGFLEET_TOKEN_SECRET=secret)) as router:
            notes = int(await router.value(COUNT, prefer_replica=False))
            for _ in range(5):
                notes += 1
                assert await in_session(router) == {notes: 4}
                token = await face.call(router.raw.token)
                assert await seen_by_all(router, after=token) == {notes: 5}


@EACH
async def test_bounds_hold_on_each_connection(face: Face, fleet: LocalFleet) -> None:
    with endpoint(fleet) as proxy:
        async with face.open(through(proxy, fleet, PGFLEET_MAX_LAG_S="1")) as router:
            await router.execute("insert into shared_notes values (1)")
            notes = int(await router.value(COUNT, prefer_replica=False))

            async def settled() -> bool:
                return Counter([await router.value(COUNT) for _ in range(10)]) == {notes: 10}

            await eventually_async(settled)
            assert {await router.value(PORT) for _ in range(10)} == {port(fleet, FRESH)}
            assert await seen_by_all(router, max_lag_s=0.9) == {notes: 5}


@pytest.mark.parametrize("face", FACES[:1], ids=str)
async def test_lives_live_side_by_side(face: Face, fleet: LocalFleet) -> None:
    with rotating(port(fleet, FRESH), port(fleet, STALE)) as proxy:
        async with face.open(through(proxy, fleet)) as router:
            async with router.read() as one, router.read() as other:
                ports = {await one.value(PORT), await other.value(PORT)}
            assert ports == {port(fleet, FRESH), port(fleet, STALE)}
            accepted = proxy.accepted
            for _ in range(5):
                await face.call(router.raw.engine._watcher.refresh, ("replica-1",), 1.0)
                async with router.read() as one, router.read() as other:
                    assert {await one.value(PORT), await other.value(PORT)} == ports
            assert proxy.accepted == accepted, "no connection was lost"


@pytest.mark.parametrize("face", FACES[:1], ids=str)
async def test_when_it_leads_to_the_primary_alone_that_one_serves_as_itself(
    face: Face, fleet: LocalFleet
) -> None:
    with rotating(port(fleet, "primary")) as proxy:
        async with face.open(through(proxy, fleet)) as router:
            for _ in range(5):
                await router.execute("create table if not exists shared_notes (n int)", org_id=1)
                assert await router.value(PORT, org_id=1) == port(fleet, "primary")
                assert await router.value(PORT) == port(fleet, "primary")
            assert router.raw.pool_stats()["replica-1"][0].leases == 0


@EACH
async def test_one_that_is_not_declared_is_found_out(
    face: Face, fleet: LocalFleet, caplog: pytest.LogCaptureFixture
) -> None:
    with endpoint(fleet) as proxy:
        settings = through(proxy, fleet, READ_REPLICA_1_SHARED_ENDPOINT=None, DB_MAX_LIFETIME="1s")
        async with face.open(settings) as router:

            async def found_out() -> bool:
                async with router.read(), router.read(), router.read():
                    return bool(router.raw.topology.node("replica-1").is_shared)

            await eventually_async(found_out)
            told = [r.getMessage() for r in caplog.records if "different servers" in r.getMessage()]
            assert len(told) == 1
            assert "SHARED_ENDPOINT=true" in told[0]
            notes = int(await router.value(COUNT, prefer_replica=False))
            for _ in range(5):
                await router.execute("insert into shared_notes values (1)", org_id=7)
                notes += 1
                assert await seen_by_all(router, org_id=7) == {notes: 5}


@pytest.mark.parametrize("face", FACES[:1], ids=str)
async def test_a_restart_is_no_other_server(
    face: Face, fleet: LocalFleet, caplog: pytest.LogCaptureFixture
) -> None:
    with rotating(port(fleet, "replica-3")) as proxy:
        async with face.open(through(proxy, fleet, READ_REPLICA_1_SHARED_ENDPOINT=None)) as router:
            for _ in range(2):
                await aside(fleet.restart, "replica-3")

                async def serves() -> bool:
                    return bool(await router.value(PORT) == port(fleet, "replica-3"))

                await eventually_async(serves)
            assert not router.raw.topology.node("replica-1").is_shared
            assert "different servers" not in caplog.text
