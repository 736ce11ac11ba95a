"""Each `DB_*` variable does what its page says, on each driver."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest

from pgfleet import LeaseTimeout, Settings
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually_async
from tests.faces import FACES, PORT, Face, Router, aside, environ, plain_environ, port, sqlstate

pytestmark = pytest.mark.parametrize("face", FACES, ids=str)


def of_pools(fleet: LocalFleet, name: str) -> int:
    """The connections that the server counts, without the one of the probes."""
    ours = "select count(*) from pg_stat_activity where application_name = 'pgfleet'"
    return int(fleet.sql(name, ours)[0][0]) - 1


async def becomes(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    async def met() -> bool:
        return condition()

    await eventually_async(met, within_s)


def active(router: Router, name: str) -> int:
    return sum(pool.active for pool in router.raw.pool_stats()[name])


def idle(router: Router, name: str) -> int:
    return sum(pool.idle for pool in router.raw.pool_stats()[name])


async def test_the_maximum_bounds_both_pools_of_the_primary(face: Face, fleet: LocalFleet) -> None:
    settings = environ(
        fleet, DB_MAX_CONNECTIONS="4", PGFLEET_FALLBACK_SHARE="0.5", DB_CONNECTION_TIMEOUT="300ms"
    )
    async with face.open(settings) as router:
        async with AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(router.read(prefer_replica=False))
            with pytest.raises(LeaseTimeout) as caught:
                await held.enter_async_context(router.read(prefer_replica=False))
            assert "MAX_CONNECTIONS" in caught.value.hint
            for _ in range(2):
                await held.enter_async_context(router.write())
            with pytest.raises(LeaseTimeout):
                await held.enter_async_context(router.write())
            assert (active(router, "primary"), idle(router, "primary")) == (4, 0)
        # writes may take what reads have left idle
        async with AsyncExitStack() as held:
            for _ in range(4):
                await held.enter_async_context(router.write())
            with pytest.raises(LeaseTimeout):
                await held.enter_async_context(router.read(prefer_replica=False))
            assert (active(router, "primary"), idle(router, "primary")) == (4, 0)
        assert all(router.raw.is_healthy(name) for name in fleet.names)


async def test_full_replicas_hand_over_to_each_other_and_to_the_primary(
    face: Face, fleet: LocalFleet
) -> None:
    one_each = {f"READ_REPLICA_{n}_MAX_CONNECTIONS": "1" for n in (1, 2, 3)}
    settings = environ(fleet, DB_CONNECTION_TIMEOUT="300ms", **one_each)
    async with face.open(settings) as router, AsyncExitStack() as held:
        ports = []
        for _ in range(3):
            conn = await held.enter_async_context(router.read())
            ports.append(await conn.value(PORT))
        assert sorted(ports) == sorted(port(fleet, f"replica-{n}") for n in (1, 2, 3))
        with pytest.raises(LeaseTimeout):
            await held.enter_async_context(router.read(timeout_s=0.2))
        assert all(router.raw.is_healthy(name) for name in fleet.names)


async def test_the_minimum_is_kept_open(face: Face, fleet: LocalFleet) -> None:
    settings = environ(fleet, DB_MIN_CONNECTIONS="3", READ_REPLICA_2_MIN_CONNECTIONS="2")
    async with face.open(settings) as router:
        await becomes(lambda: (idle(router, "primary"), idle(router, "replica-2")) == (3, 2))
        await becomes(lambda: of_pools(fleet, "replica-2") == 2)
        assert idle(router, "replica-1") == 0


async def test_idle_connections_end_down_to_the_minimum(face: Face, fleet: LocalFleet) -> None:
    settings = environ(fleet, DB_MAX_IDLE_TIME="200ms", READ_REPLICA_1_MIN_CONNECTIONS="1")
    async with face.open(settings) as router:
        async with AsyncExitStack() as held:
            for _ in range(9):
                await held.enter_async_context(router.read())
        assert sum(idle(router, name) for name in fleet.names) == 9
        await becomes(lambda: [idle(router, name) for name in fleet.names] == [0, 1, 0, 0])
        await becomes(lambda: of_pools(fleet, "replica-2") == 0)


async def test_old_connections_are_renewed(face: Face, fleet: LocalFleet) -> None:
    async with face.open(environ(fleet, DB_MAX_LIFETIME="1s")) as router:
        first = await router.value("select pg_backend_pid()", prefer_replica=False)

        async def renewed() -> bool:
            return bool(await router.value("select pg_backend_pid()", prefer_replica=False) != first)

        assert not await renewed()
        await eventually_async(renewed)


async def test_a_lease_outlives_its_lifetime_and_is_not_lent_again(face: Face, fleet: LocalFleet) -> None:
    async with face.open(environ(fleet, DB_MAX_LIFETIME="500ms")) as router:
        async with router.read() as conn:
            first = await conn.value("select pg_backend_pid()")
            await asyncio.sleep(1.6)
            assert await conn.value("select pg_backend_pid()") == first
        pids = {await router.value("select pg_backend_pid()") for _ in range(6)}
        assert first not in pids


@pytest.mark.parametrize("prefer_replica", [True, False], ids=["replica", "primary"])
async def test_the_server_ends_a_query_that_lasts_too_long(
    face: Face, fleet: LocalFleet, prefer_replica: bool
) -> None:
    async with face.open(environ(fleet, DB_QUERY_TIMEOUT="100ms")) as router:
        with pytest.raises(Exception, match="statement timeout") as caught:
            await router.fetch("select pg_sleep(30)", prefer_replica=prefer_replica)
        assert sqlstate(caught.value) == "57014"
        with pytest.raises(Exception, match="statement timeout"):
            await router.execute("select pg_sleep(30)")
        assert all(router.raw.is_healthy(name) for name in fleet.names)
        assert await router.value("show statement_timeout", prefer_replica=prefer_replica) == "100ms"


async def test_the_dsns_own_options_prevail(face: Face, fleet: LocalFleet) -> None:
    settings = environ(fleet)
    name = "READ_REPLICA_1_CONNECTION_STRING"
    options = "options=-c%20statement_timeout%3D7777&application_name=mine"
    settings[name] = f"{settings[name]}?{options}"
    for n in (2, 3):
        for what in ("CONNECTION_STRING", "MIN_CONNECTIONS"):
            del settings[f"READ_REPLICA_{n}_{what}"]
    async with face.open(settings) as router:
        assert await router.value(PORT) == port(fleet, "replica-1")
        assert await router.value("select current_setting('application_name')") == "mine"
        assert await router.value("show statement_timeout") == "7777ms"
        assert (
            await router.value("select current_setting('application_name')", prefer_replica=False)
            == "pgfleet"
        )


async def test_waiting_for_a_connection_ends_in_time(face: Face, fleet: LocalFleet) -> None:
    async with face.open(environ(fleet, DB_MAX_CONNECTIONS="1", DB_CONNECTION_TIMEOUT="200ms")) as router:
        async with router.write():
            with pytest.raises(LeaseTimeout, match=r"0\.2 s") as caught:
                await router.execute("select 1")
            assert "DB_MAX_CONNECTIONS" in caught.value.hint
            with pytest.raises(LeaseTimeout):
                await router.execute("select 1", timeout_s=0.05)
        assert await router.execute("select 1") == "SELECT 1"


async def test_a_waiter_gets_what_comes_back(face: Face, fleet: LocalFleet) -> None:
    async with face.open(environ(fleet, DB_MAX_CONNECTIONS="1")) as router:
        tags = await asyncio.gather(*(router.execute("select pg_sleep(0.002)") for _ in range(20)))
        assert tags == ["SELECT 1"] * 20
        assert router.open_connections() == 1


async def test_reads_that_fall_back_use_their_own_role(face: Face, fleet: LocalFleet) -> None:
    async with face.open(environ(fleet, DATABASE_READ_URL=fleet.dsn("primary", plain=True))) as router:
        assert await router.value("select current_user::text", prefer_replica=False) == "app"
        assert await router.value("select current_user::text") == "pgfleet"
        async with router.write() as conn:
            assert await conn.value("select current_user::text") == "pgfleet"


async def test_reads_fall_back_to_a_primary_that_was_asked_for_as_one_that_takes_writes(
    face: Face, fleet: LocalFleet
) -> None:
    """libpq refuses a session that begins read-only when it is told `read-write`."""
    dsn = fleet.dsn("primary") + "?target_session_attrs=read-write"
    async with face.open(environ(fleet, DATABASE_URL=dsn)) as router:
        assert await router.value(PORT, prefer_replica=False) == port(fleet, "primary")
        assert await router.value("show transaction_read_only", prefer_replica=False) == "on"
        async with router.write() as conn:
            assert await conn.value("show transaction_read_only") == "off"


async def test_the_password_is_asked_at_each_connect(face: Face, fleet: LocalFleet) -> None:
    with rotating(fleet) as password:
        given = Settings.from_env(plain_environ(fleet))
        settings = dataclasses.replace(
            given,
            primary=dataclasses.replace(given.primary, password=lambda: password[-1]),
            replicas=tuple(
                dataclasses.replace(node, password=lambda: password[-1]) for node in given.replicas
            ),
        )
        async with face.open(settings) as router:
            assert await router.value(PORT) != port(fleet, "primary")
            await aside(rotate, fleet, password)
            async with AsyncExitStack() as held:  # more than are open: new ones are needed
                for _ in range(6):
                    conn = await held.enter_async_context(router.read())
                    assert await conn.value("select current_user::text") == "app"
                conn = await held.enter_async_context(router.write())
                assert await conn.value("select 1") == 1
            assert password[-1] not in repr(router.raw.settings)


@contextmanager
def rotating(fleet: LocalFleet) -> Iterator[list[str]]:
    """The passwords of the plain role so far; afterwards the first is in force again."""
    passwords = [fleet.dsn("primary", plain=True).split(":")[2].split("@")[0]]
    yield passwords
    set_password(fleet, passwords[0])


def rotate(fleet: LocalFleet, passwords: list[str]) -> None:
    """Set another on the server, wait until every replica has it, and only then tell it."""
    set_password(fleet, f"{passwords[0]}-{len(passwords)}")
    passwords.append(f"{passwords[0]}-{len(passwords)}")


def set_password(fleet: LocalFleet, password: str) -> None:
    fleet.sql("primary", f"alter role app password '{password}'")
    verifier = fleet.sql("primary", "select rolpassword from pg_authid where rolname = 'app'")
    for name in fleet.names[1:]:
        while fleet.sql(name, "select rolpassword from pg_authid where rolname = 'app'") != verifier:
            pass


async def test_the_figures_of_the_pools_add_up(face: Face, fleet: LocalFleet) -> None:
    async with face.open(environ(fleet)) as router:
        async with router.read(), router.write():
            assert sum(active(router, name) for name in fleet.names) == 2
        assert sum(active(router, name) for name in fleet.names) == 0
        await asyncio.gather(*(router.value("select 1") for _ in range(30)))
        await asyncio.gather(*(router.execute("select 1") for _ in range(5)))
        stats = router.raw.pool_stats()
        assert sum(reads.leases for reads, _ in stats.values()) == 31
        assert stats["primary"][1].leases == 6
        assert all(pool.waiting == 0 for pools in stats.values() for pool in pools)
        for name in fleet.names:
            assert of_pools(fleet, name) == sum(pool.active + pool.idle for pool in stats[name])
    await becomes(lambda: all(of_pools(fleet, name) == -1 for name in fleet.names))  # all are gone


# asking on demand


async def test_reads_flow_while_probes_are_rare(face: Face, fleet: LocalFleet) -> None:
    async with face.open(environ(fleet, REPLICA_HEALTH_CHECK_INTERVAL="30000")) as router:
        assert all(router.raw.is_healthy(name) for name in fleet.names)
        await aside(fleet.kill, "replica-2")
        try:
            ports = [await router.value(PORT) for _ in range(30)]
            assert set(ports) == {port(fleet, "replica-1"), port(fleet, "replica-3")}
            assert not router.raw.is_healthy("replica-2")
        finally:
            await aside(fleet.start, "replica-2")
        await becomes(lambda: "replica-2" in router.candidates(), 5.0)
        ports = [await router.value(PORT) for _ in range(6)]
        assert port(fleet, "replica-2") in ports
