"""A role without any privilege beyond its own tables is enough."""

from __future__ import annotations

import pytest

from pgfleet.core.health import Status, replica_status
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually_async
from tests.faces import FACES, PORT, Face, aside, placed, plain_environ, port

REPLICAS = ("replica-1", "replica-2", "replica-3")


@placed(FACES, FACES[:1])
async def test_a_plain_role_reads_replicas_and_sees_its_writes(face: Face, placed_fleet: LocalFleet) -> None:
    fleet = placed_fleet
    async with face.open(plain_environ(fleet)) as router:
        assert await router.value("select current_user::text") == "app"
        assert await router.value("select pg_has_role('pg_monitor', 'usage')") is False
        await router.execute("create table if not exists own (n int)", org_id=1)
        await router.execute("insert into own values (1)", org_id=1)
        before = await router.value("select count(*) from own", org_id=1)
        for _ in range(10):
            await router.execute("insert into own values (1)", org_id=1)
            before += 1
            assert await router.value("select count(*) from own", org_id=1) == before

        async def all_serve() -> bool:
            return router.candidates(max_lag_s=2.0) == (*REPLICAS, "primary")

        await eventually_async(all_serve)
        assert {await router.value(PORT) for _ in range(6)} == {port(fleet, name) for name in REPLICAS}
        assert await router.value(PORT, max_lag_s=0.5) != port(fleet, "primary")


@pytest.mark.parametrize("face", FACES[:1], ids=str)
async def test_a_plain_role_measures_lag(face: Face, fleet: LocalFleet) -> None:
    async with face.open(plain_environ(fleet, PGFLEET_MAX_LAG_S="3")) as router:
        topology = router.raw.topology
        assert [replica_status(topology, node) for node in topology.replicas] == [Status.HEALTHY] * 3
        await aside(fleet.lag, "replica-3", paused=True)
        try:
            fleet.sql("primary", "create table if not exists moved (n int)")

            async def stale() -> bool:
                return router.reason("replica-3") == "is staler than the read allows"

            await eventually_async(stale)
            assert set(router.candidates()) == {"replica-1", "replica-2", "primary"}
        finally:
            await aside(fleet.lag, "replica-3", 0)
