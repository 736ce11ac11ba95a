"""What the endpoints say while servers are dead, frozen, behind, promoted, or switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pgfleet.local import LocalFleet
from pgfleet.testing import eventually, eventually_async
from tests.http.api import (
    DISTRIBUTION,
    EXPLAIN,
    FACES,
    HEALTH,
    LAG,
    POOLS,
    REPLICATION,
    SYSTEM,
    Api,
    Face,
    api,
)

NONE_OPEN = {"total_connections": 0, "active_connections": 0, "idle_connections": 0}
TWO_OF_THREE = "2 of 3 replicas are healthy"


@contextmanager
def killed(fleet: LocalFleet, *names: str) -> Iterator[None]:
    for name in names:
        fleet.kill(name)
    try:
        yield
    finally:
        for name in names:
            fleet.start(name)
        standbys = "select count(*) from pg_stat_replication where state = 'streaming'"
        eventually(lambda: fleet.sql("primary", standbys) == [("3",)], within_s=20)


async def shows(served: Api, message: str) -> None:
    async def as_expected() -> bool:
        return bool((await served.json(HEALTH))["message"] == message)

    assert await eventually_async(as_expected)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("source", ["pool", "server"])
async def test_a_dead_replica(fleet: LocalFleet, face: Face, source: str) -> None:
    async with api(fleet.environ(), face, source=source) as served:
        with killed(fleet, "replica-2"):
            await shows(served, TWO_OF_THREE)
            assert (await served.json(HEALTH))["healthy"] is False
            row = (await served.json(LAG))["replicas"][1]
            assert (row["name"], row["lagSeconds"], row["status"]) == ("replica-2", None, "unhealthy")
            assert row["reason"] == "not answering"
            assert row["detail"]
            assert (await served.json(POOLS))["replicas"]["replica-2"].items() >= NONE_OPEN.items()
            assert list((await served.json(DISTRIBUTION))["replicas"]) == [
                "replica-1",
                "replica-2",
                "replica-3",
            ]
            assert "replica-2" not in (await served.json(EXPLAIN))["candidates"]
            for word in ("primary", "replica"):
                assert await served.probe(f"/nodes/replica-2/{word}") == (503, "unreachable")
            assert await served.probe("/nodes/replica-2/health") == (503, "unhealthy")
            assert await served.probe("/replica") == (200, "replica")
            slots = (await served.json(REPLICATION))["slots"]
            assert [slot["active"] for slot in slots] == [True, False, True]
        await shows(served, "All 3 replicas are healthy")


async def test_a_server_that_tells_nothing_says_why(fleet: LocalFleet) -> None:
    async with api(fleet.environ(), source="server") as served:
        with killed(fleet, "replica-1"):
            await shows(served, TWO_OF_THREE)
            told = (await served.json(POOLS))["replicas"]["replica-1"]
            assert told == NONE_OPEN | {"max_connections": 0, "utilisation": None, "reason": "not answering"}


@pytest.mark.parametrize("face", FACES)
async def test_a_dead_primary(fleet: LocalFleet, face: Face) -> None:
    async with api(fleet.environ(), face) as served:

        async def is_proven() -> bool:
            return await served.probe("/nodes/replica-1/replica") == (200, "replica")

        assert await eventually_async(is_proven)
        with killed(fleet, "primary"):

            async def is_out() -> bool:
                return await served.probe("/primary") == (503, "unavailable")

            assert await eventually_async(is_out)
            for path in (LAG, HEALTH, POOLS, DISTRIBUTION, EXPLAIN):
                await served.json(path)
            response = await served.client.get(REPLICATION)
            assert (response.status_code, response.json()) == (503, {"detail": "no primary answers"})
            assert (await served.json(HEALTH))["primary"] is None
            assert await served.probe("/nodes/primary/primary") == (503, "unreachable")
            assert await served.probe("/nodes/replica-1/replica") == (200, "replica")
            assert await served.probe("/nodes/replica-1/replica?lag=1m") == (503, "stale")
            assert await served.probe("/readiness") == (200, "ready")


async def test_all_dead(fleet: LocalFleet) -> None:
    async with api(fleet.environ()) as served:
        with killed(fleet, *fleet.names):
            await shows(served, "0 of 3 replicas are healthy")
            assert await served.probe("/replica") == (503, "unavailable")
            assert await served.probe("/readiness") == (503, "unready")
            assert await served.probe("/liveness") == (200, "alive")
            assert (await served.json(EXPLAIN))["candidates"] == []
            assert (await served.json(POOLS))["primary"]["total_connections"] == 0


@pytest.mark.parametrize("face", FACES)
async def test_a_frozen_replica_holds_nobody_up(fleet: LocalFleet, face: Face) -> None:
    async with api(fleet.environ(), face, source="server") as served:
        await served.json(POOLS)  # an idle connection to each node is there
        fleet.freeze("replica-3")
        try:
            told = (await served.json(POOLS))["replicas"]
            assert told["replica-3"]["reason"] == "not answering"
            assert told["replica-1"]["total_connections"] >= 1

            async def is_out() -> bool:
                return await served.probe("/nodes/replica-3/replica") == (503, "unreachable")

            assert await eventually_async(is_out)
            assert await served.probe("/nodes/replica-1/replica") == (200, "replica")
        finally:
            fleet.thaw("replica-3")
        await shows(served, "All 3 replicas are healthy")


async def test_a_replica_whose_replay_is_paused(fleet: LocalFleet) -> None:
    async with api(fleet.environ()) as served:
        fleet.lag("replica-1", paused=True)
        try:
            fleet.sql(
                "primary", "create table filler as select repeat('x', 1000) from generate_series(1, 2000)"
            )

            async def lags() -> bool:
                rows = (await served.json(LAG))["replicas"]
                return bool(rows[0]["lagSeconds"] > 0.5 and rows[1]["lagSeconds"] == 0)

            assert await eventually_async(lags)
            for bound in ("500ms", "1MB", "1kB"):
                assert await served.probe(f"/nodes/replica-1/replica?lag={bound}") == (503, "stale")
                assert await served.probe(f"/nodes/replica-2/replica?lag={bound}") == (200, "replica")
                assert await served.probe(f"/replica?lag={bound}") == (200, "replica")
            for bound in ("1m", "1GB"):
                assert await served.probe(f"/nodes/replica-1/replica?lag={bound}") == (200, "replica")
            strict = (await served.json(f"{EXPLAIN}?max_lag_s=0.4"))["nodes"][1]
            assert (strict["candidate"], strict["reason"]) == (False, "is staler than the read allows")
        finally:
            fleet.lag("replica-1", delay_s=0)
            fleet.sql("primary", "drop table if exists filler")


@pytest.mark.parametrize("face", FACES)
async def test_disabled(fleet: LocalFleet, face: Face) -> None:
    async with api(fleet.environ() | {"USE_READ_REPLICAS": "false"}, face) as served:
        health = await served.json(HEALTH)
        assert (health["healthy"], health["replicaCount"]) == (True, 0)
        assert (health["replicasEnabled"], health["message"]) == (False, "Read replicas are disabled")
        row = (await served.json(LAG))["replicas"][0]
        assert (row["lagSeconds"], row["status"]) == (None, "unknown")
        assert row["reason"] == "read replicas are disabled"
        assert (await served.json(EXPLAIN))["candidates"] == ["primary"]
        assert await served.probe("/nodes/replica-1/replica") == (503, "replicas_disabled")
        assert await served.probe("/nodes/replica-1/primary") == (503, "replicas_disabled")
        assert await served.probe("/readiness") == (200, "ready")


async def test_disabled_replicas_are_not_asked(fleet: LocalFleet) -> None:
    async with api(fleet.environ() | {"USE_READ_REPLICAS": "false"}, source="server") as served:
        told = (await served.json(POOLS))["replicas"]["replica-1"]
    assert told == NONE_OPEN | {
        "max_connections": 0,
        "utilisation": None,
        "reason": "read replicas are disabled",
    }


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("source", ["pool", "server"])
async def test_only_a_primary(fleet: LocalFleet, face: Face, source: str) -> None:
    environ = {"DATABASE_URL": fleet.dsn("primary"), "USE_READ_REPLICAS": "true"}
    async with api(environ, face, source=source) as served:
        health = await served.json(HEALTH)
        assert (health["healthy"], health["message"]) == (False, "No replicas are configured")
        assert (await served.json(LAG))["replicas"] == []
        assert (await served.json(POOLS))["replicas"] == {}
        assert (await served.json(DISTRIBUTION))["replicas"] == {}
        assert (await served.json(EXPLAIN))["candidates"] == ["primary"]
        assert len((await served.json(REPLICATION))["standbys"]) == 3
        assert await served.probe("/replica") == (503, "unavailable")
        assert await served.probe("/primary") == (200, "primary")


async def test_a_wrong_password_is_told_without_it(fleet: LocalFleet) -> None:
    secret = "neverToBeSeen"
    wrong = fleet.dsn("replica-2").replace(fleet.dsn("replica-2").split(":")[2].split("@")[0], secret)
    async with api(fleet.environ() | {"READ_REPLICA_2_CONNECTION_STRING": wrong}) as served:
        row = (await served.json(LAG))["replicas"][1]
        assert (row["status"], row["reason"]) == ("unhealthy", "refuses this configuration")
        for path in (LAG, EXPLAIN, POOLS):
            assert secret not in (await served.client.get(path)).text


async def test_no_server_at_all() -> None:
    nowhere = {"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/db"}
    async with api(nowhere) as served:
        for path in (LAG, HEALTH, POOLS, DISTRIBUTION, EXPLAIN):
            await served.json(path)
        response = await served.client.get(f"{SYSTEM}/replicas/replication")
        assert response.status_code == 503
        assert "hush" not in response.text


async def test_a_promoted_replica(fleet: LocalFleet) -> None:
    """Last in this file: the fleet has another primary from here on."""
    async with api(fleet.environ()) as served:
        fleet.stop("primary")
        fleet.promote("replica-1")

        async def is_primary() -> bool:
            return await served.probe("/nodes/replica-1/primary") == (200, "primary")

        assert await eventually_async(is_primary)
        assert await served.probe("/nodes/replica-1/replica") == (503, "is_primary")
        assert await served.probe("/nodes/replica-1/health") == (200, "healthy")
        assert (await served.json(HEALTH))["primary"] == "replica-1"
        assert (await served.json(REPLICATION))["primary"] == "replica-1"
        await served.router.execute("select 1")
        assert (await served.json(DISTRIBUTION))["replicas"]["replica-1"] == {"reads": 0, "writes": 1}
