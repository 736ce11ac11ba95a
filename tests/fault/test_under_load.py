"""Faults that are met by nobody's probe, and faults of all replicas at once: no caller of `fetch` notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pgfleet.local import LocalFleet
from pgfleet.local.proxy import FaultProxy
from tests.faces import FACES, Face, aside, environ, port
from tests.fault.load import becomes, load

pytestmark = pytest.mark.parametrize("face", FACES, ids=str)
REPLICAS = ("replica-1", "replica-2", "replica-3")


@contextmanager
def proxied(fleet: LocalFleet, settings: dict[str, str]) -> Iterator[dict[str, FaultProxy]]:
    """A proxy before every node, and the settings turned to them."""
    with ExitStack() as stack:
        proxies = {}
        for number, name in enumerate(fleet.names):
            proxies[name] = stack.enter_context(FaultProxy("127.0.0.1", port(fleet, name)))
            variable = f"READ_REPLICA_{number}_CONNECTION_STRING" if number else "DATABASE_URL"
            settings[variable] = proxies[name].dsn(settings[variable])
        yield proxies


async def test_a_frozen_replica_is_found_while_probes_are_rare(face: Face, fleet: LocalFleet) -> None:
    settings = environ(fleet, REPLICA_HEALTH_CHECK_INTERVAL="30000")
    async with face.open(settings) as router, load(fleet, router) as seen:
        assert set(await seen.after(60)) == set(REPLICAS)
        await aside(fleet.freeze, "replica-3")
        try:
            await becomes(lambda: router.reason("replica-3") == "not answering", 10.0)
            assert set(await seen.after(100)) == {"replica-1", "replica-2"}
        finally:
            await aside(fleet.thaw, "replica-3")
        await becomes(lambda: router.raw.is_healthy("replica-3"))


async def test_connections_reset_by_the_network_cost_no_read(face: Face, fleet: LocalFleet) -> None:
    settings = environ(fleet)
    with proxied(fleet, settings) as proxies:
        async with face.open(settings) as router, load(fleet, router) as seen:
            assert set(await seen.after(60)) == set(REPLICAS)
            for _ in range(3):
                for name in REPLICAS:
                    await aside(proxies[name].reset)
                    # One read that lost three connections in a row would be held to blame.
                    await seen.each_anew()
                await seen.after(60)
            await becomes(lambda: set(router.candidates()) == set(fleet.names))
            assert set(await seen.after(100)) == set(REPLICAS)
