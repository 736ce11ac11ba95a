"""What is wrong with the fleet's addresses, roles and servers is told once, promptly, and without a password."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import pickle
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from pgfleet.errors import PgfleetError, PrimaryUnavailable
from pgfleet.local import LocalFleet
from pgfleet.local.proxy import FaultProxy
from pgfleet.testing import eventually_async
from tests.faces import FACES, PORT, Face, Router, aside, environ, plain_environ, port

pytestmark = pytest.mark.parametrize("face", FACES, ids=str)

PROMPT_S = 8.0
"""Far below the drivers' own 10 s and more; nothing here should take a tenth of it."""

WAIT_S = 0.5
"""How long a write waits for a primary here, which never comes."""


@pytest.fixture(autouse=True)
def no_password_in_the_logs(fleet: LocalFleet, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert_no_secret(fleet, caplog.text)


def assert_no_secret(fleet: LocalFleet, *texts: object) -> None:
    for plain in (False, True):
        password = fleet.dsn("primary", plain=plain).split(":")[2].split("@")[0]
        for text in texts:
            assert password not in str(text)
            assert WRONG not in str(text)


WRONG = "an-utterly-wrong-one"


@asynccontextmanager
async def troubled(face: Face, fleet: LocalFleet, settings: dict[str, str]) -> AsyncIterator[Router]:
    """A router that opens promptly whatever is wrong, and shows no password anywhere."""
    async with asyncio.timeout(PROMPT_S * 2):
        async with face.open(settings) as router:
            async with asyncio.timeout(PROMPT_S):
                yield router
            explained = json.dumps(dataclasses.asdict(router.raw.explain()), default=str)
            assert_no_secret(fleet, repr(router.raw), repr(router.raw.settings), explained)
            assert_no_secret(fleet, repr(router.raw.topology), repr(router.raw.engine.board))


async def refusal(fleet: LocalFleet, router: Router) -> PgfleetError:
    """The error of a write, which no primary takes."""
    with pytest.raises(PrimaryUnavailable) as caught:
        await router.execute("select 1", timeout_s=WAIT_S)
    error = caught.value
    assert error.hint
    assert_no_secret(fleet, str(error), repr(error), repr(error.__cause__), repr(error.__context__))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    with pytest.raises(PrimaryUnavailable):
        async with router.write(timeout_s=WAIT_S) as conn:
            await conn.rows("select 1")
    return error


def at(dsn: str, port: int) -> str:
    """The same server's address with another port."""
    head, _, rest = dsn.rpartition(":")
    return f"{head}:{port}/{rest.partition('/')[2]}"


def wrong(fleet: LocalFleet, what: str, dsn: str) -> str:
    """A connection string with one thing wrong."""
    if what == "host":
        return dsn.replace("127.0.0.1", "no-such-host.invalid")
    if what == "port":
        return at(dsn, 1)
    if what == "password":
        return dsn.replace(dsn.split(":")[2].split("@")[0], WRONG)
    if what == "database":
        return dsn.replace("/postgres", "/no_such_database")
    if what == "role":
        return dsn.replace("//pgfleet:", "//nobody:")
    assert what == "connect"
    return dsn.replace("/postgres", "/closed")


@pytest.fixture(scope="module", autouse=True)
def closed_database(fleet: LocalFleet) -> None:
    fleet.sql("primary", "create database closed")
    fleet.sql("primary", "revoke connect on database closed from public")


WORDS = {
    "host": r"(?i)resolve|name|nodename",
    "port": "(?i)refused|connect",
    "password": "(?i)password authentication failed",
    "database": "(?i)no_such_database",
    "role": "(?i)password authentication failed",
    "connect": "(?i)permission denied for database",
}


@pytest.mark.parametrize("what", WORDS)
async def test_a_primary_that_cannot_be_used_is_one_clear_error(
    face: Face, fleet: LocalFleet, what: str
) -> None:
    settings = plain_environ(fleet) if what == "connect" else environ(fleet)
    settings["DATABASE_URL"] = wrong(fleet, what, settings["DATABASE_URL"])
    async with troubled(face, fleet, settings) as router:
        error = await refusal(fleet, router)
        assert_matches(WORDS[what], str(error))
        assert not router.raw.is_healthy("primary")
        detail = next(node.detail for node in router.raw.explain().nodes if node.name == "primary")
        assert_matches(WORDS[what], detail)


@pytest.mark.parametrize("what", WORDS)
async def test_a_replica_that_cannot_be_used_is_left_out_with_its_reason(
    face: Face, fleet: LocalFleet, what: str
) -> None:
    settings = plain_environ(fleet) if what == "connect" else environ(fleet)
    name = "READ_REPLICA_2_CONNECTION_STRING"
    settings[name] = wrong(fleet, what, settings[name])
    async with troubled(face, fleet, settings) as router:
        ports = {await router.value(PORT) for _ in range(8)}
        assert ports == {port(fleet, "replica-1"), port(fleet, "replica-3")}
        assert await router.execute("select 1") == "SELECT 1"
        node = next(node for node in router.raw.explain().nodes if node.name == "replica-2")
        assert not node.candidate
        assert_matches(WORDS[what], node.detail)
        expected = "not answering" if what in ("host", "port") else "refuses this configuration"
        assert node.reason == expected
        assert not router.raw.is_healthy("replica-2")


def assert_matches(pattern: str, text: str | None) -> None:
    assert text
    assert re.search(pattern, text), text


async def test_every_address_wrong_at_once(face: Face, fleet: LocalFleet) -> None:
    settings = {
        name: wrong(fleet, "password", value) if value.startswith("postgresql://") else value
        for name, value in environ(fleet).items()
    }
    async with troubled(face, fleet, settings) as router:
        error = await refusal(fleet, router)
        assert "primary refuses this configuration" in str(error)
        with pytest.raises(PrimaryUnavailable):
            await router.fetch("select 1")


async def test_a_black_hole_at_the_start(face: Face, fleet: LocalFleet) -> None:
    with FaultProxy("127.0.0.1", port(fleet, "replica-1")) as replica, primary_proxy(fleet) as primary:
        replica.blackhole()
        settings = environ(fleet)
        name = "READ_REPLICA_1_CONNECTION_STRING"
        settings[name] = replica.dsn(settings[name])
        async with troubled(face, fleet, settings) as router:
            for _ in range(6):
                assert await router.value(PORT) != port(fleet, "replica-1")
            await becomes_reason(router, "replica-1", "not answering")
        primary.blackhole()
        settings["DATABASE_URL"] = primary.dsn(settings["DATABASE_URL"])
        async with troubled(face, fleet, settings) as router:
            await refusal(fleet, router)


def primary_proxy(fleet: LocalFleet) -> FaultProxy:
    return FaultProxy("127.0.0.1", port(fleet, "primary"))


async def becomes_reason(router: Router, name: str, reason: str | None) -> None:
    async def met() -> bool:
        return router.reason(name) == reason

    await eventually_async(met)


async def test_a_black_hole_in_mid_run_and_back(face: Face, fleet: LocalFleet) -> None:
    with FaultProxy("127.0.0.1", port(fleet, "replica-1")) as replica, primary_proxy(fleet) as primary:
        settings = environ(fleet)
        name = "READ_REPLICA_1_CONNECTION_STRING"
        settings[name] = replica.dsn(settings[name])
        settings["DATABASE_URL"] = primary.dsn(settings["DATABASE_URL"])
        async with troubled(face, fleet, settings) as router:
            for _ in range(6):
                await router.value(PORT)
            await router.execute("select 1")
            await aside(replica.blackhole)
            for _ in range(6):
                assert await router.value(PORT) != port(fleet, "replica-1")
            await becomes_reason(router, "replica-1", "not answering")
        async with troubled(face, fleet, settings) as router:
            await aside(replica.pass_through)
            await becomes_reason(router, "replica-1", None)
            await aside(primary.blackhole)

            async def out() -> bool:
                return router.raw.topology.primary_name is None

            await eventually_async(out)
            await refusal(fleet, router)
            assert await router.value("select 1") == 1
            await aside(primary.pass_through)

            async def back() -> bool:
                return bool(router.raw.topology.primary_name == "primary")

            await eventually_async(back)
            assert await router.execute("select 1") == "SELECT 1"


# the same server under two names, and servers of others


async def test_a_replica_that_is_the_primary_is_left_out(face: Face, fleet: LocalFleet) -> None:
    settings = environ(fleet)
    settings["READ_REPLICA_1_CONNECTION_STRING"] = settings["DATABASE_URL"].replace("127.0.0.1", "localhost")
    async with troubled(face, fleet, settings) as router:
        assert router.raw.topology.primary_name in ("primary", "replica-1")  # one server, by whichever name

        async def only_the_others() -> bool:
            return router.candidates()[:-1] == ("replica-2", "replica-3")

        await eventually_async(only_the_others)
        assert {await router.value(PORT) for _ in range(4)} == {port(fleet, f"replica-{n}") for n in (2, 3)}
        async with router.write() as conn:
            assert await conn.value(PORT) == port(fleet, "primary")


async def test_one_server_under_two_names_counts_once(face: Face, fleet: LocalFleet) -> None:
    settings = environ(fleet)
    twin = settings["READ_REPLICA_1_CONNECTION_STRING"].replace("127.0.0.1", "localhost")
    settings["READ_REPLICA_2_CONNECTION_STRING"] = twin
    async with troubled(face, fleet, settings) as router:
        await becomes_reason(router, "replica-2", "is the same server as another node")
        ports = [await router.value(PORT) for _ in range(6)]
        assert sorted(ports) == sorted([port(fleet, "replica-1"), port(fleet, "replica-3")] * 3)


@pytest.fixture(scope="module")
def foreign() -> Iterator[LocalFleet]:
    with LocalFleet.temporary(replicas=1) as fleet:
        yield fleet


@pytest.mark.parametrize("name", ["primary", "replica-1"])
async def test_a_server_of_another_cluster_is_refused(
    face: Face, fleet: LocalFleet, foreign: LocalFleet, name: str
) -> None:
    settings = environ(fleet) | {"READ_REPLICA_2_CONNECTION_STRING": foreign.dsn(name)}
    async with troubled(face, fleet, settings) as router:
        await becomes_reason(router, "replica-2", "belongs to another cluster")
        assert router.raw.topology.primary_name == "primary"
        assert not router.raw.is_healthy("replica-2")
        ports = {await router.value(PORT) for _ in range(6)}
        assert ports == {port(fleet, "replica-1"), port(fleet, "replica-3")}
        async with router.write() as conn:
            assert await conn.value(PORT) == port(fleet, "primary")
