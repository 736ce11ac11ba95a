"""A router whose replicas a real name server knows: they come and go under load, and stay when it knows nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from pgfleet.local import LocalFleet
from tests.faces import FACES, Face, aside, environ, port
from tests.fault.load import becomes, load
from tests.nameserver import ZONE, NameServer, name_server

SERVICE = f"_postgres._tcp.{ZONE}"
REPLICAS = ("replica-1", "replica-2", "replica-3")


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


@pytest.fixture(autouse=True)
def asked(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if /etc/resolv.conf named this server."""
    monkeypatch.setattr("pgfleet.discovery.dns.Resolver", lambda: server.resolver)


def told(server: NameServer, fleet: LocalFleet, *names: str) -> None:
    """These nodes are the service's."""
    server.serve(*(f"srv-host={SERVICE},localhost,{port(fleet, name)},10,10" for name in names))


@pytest.mark.parametrize("face", FACES, ids=str)
async def test_replicas_are_followed_and_stay_when_nobody_tells(
    face: Face, fleet: LocalFleet, server: NameServer, caplog: pytest.LogCaptureFixture
) -> None:
    env = {name: text for name, text in environ(fleet).items() if not name.startswith("READ_")}
    told(server, fleet, "replica-1", "replica-2")
    async with (
        face.open(env | {"PGFLEET_DISCOVERY": f"srv:{SERVICE}"}) as router,
        load(fleet, router) as seen,
    ):

        async def served_by(*names: str) -> None:
            async with asyncio.timeout(60):
                while set(await seen.after(40)) != set(names):
                    pass

        await served_by("replica-1", "replica-2")
        await aside(told, server, fleet, *REPLICAS)
        await served_by(*REPLICAS)
        await aside(told, server, fleet, "replica-2", "replica-3")
        await served_by("replica-2", "replica-3")
        await aside(server.serve)
        await becomes(lambda: "The fleet stays as it is: PGFLEET_DISCOVERY" in caplog.text)
        await served_by("replica-2", "replica-3")
