"""Each endpoint over a primary and three healthy replicas, with every face and driver."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pgfleet import AsyncReplicaRouter
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually_async
from tests.http.api import (
    DISTRIBUTION,
    EXPLAIN,
    FACES,
    HEALTH,
    JSON_PATHS,
    LAG,
    POOLS,
    PROBES,
    REPLICATION,
    Api,
    Face,
    api,
    client,
)

REPLICAS = ("replica-1", "replica-2", "replica-3")
HEALTHY = {"lagSeconds": 0.0, "status": "healthy", "reason": None, "detail": None}
ALL_HEALTHY = {
    "healthy": True,
    "replicasEnabled": True,
    "replicaCount": 3,
    "healthyCount": 3,
    "primary": "primary",
    "message": "All 3 replicas are healthy",
}


@pytest.fixture(params=FACES)
async def served(request: pytest.FixtureRequest, local_fleet: LocalFleet) -> AsyncIterator[Api]:
    spares = {f"READ_REPLICA_{n}_MIN_CONNECTIONS": "0" for n in (1, 2, 3)} | {"DB_MIN_CONNECTIONS": "0"}
    async with api(local_fleet.environ() | spares, request.param) as served:
        yield served


async def read(api: Api, times: int, **options: Any) -> None:
    for _ in range(times):
        if isinstance(api.router, AsyncReplicaRouter):
            await api.router.fetch("select 1", **options)
        else:
            api.router.fetch("select 1", **options)


async def write(api: Api) -> None:
    if isinstance(api.router, AsyncReplicaRouter):
        await api.router.execute("select 1")
    else:
        api.router.execute("select 1")


async def test_lag(served: Api) -> None:
    async def settled() -> bool:
        rows = (await served.untimed(LAG))["replicas"]
        return bool(rows == [{"name": name, **HEALTHY} for name in REPLICAS])

    assert await eventually_async(settled)


async def test_health(served: Api) -> None:
    async def healthy() -> bool:
        return bool(await served.untimed(HEALTH) == ALL_HEALTHY)

    assert await eventually_async(healthy)


async def test_pools_are_the_router_s_own(served: Api) -> None:
    await read(served, 6)
    await write(served)
    told = await served.untimed(POOLS)
    assert (told["source"], told["worker"]) == ("pool", os.getpid())
    assert list(told["replicas"]) == [*REPLICAS]
    one = {
        "total_connections": 1,
        "active_connections": 0,
        "idle_connections": 1,
        "utilisation": 0.0,
        "waiting": 0,
    }
    assert told["replicas"]["replica-2"] == one | {"max_connections": 50}
    assert told["primary"] == one | {"max_connections": 100}


async def test_a_lent_connection_is_active(local_fleet: LocalFleet) -> None:
    async with api(local_fleet.environ()) as served, served.router.write():
        primary = (await served.json(POOLS))["primary"]
        assert (primary["active_connections"], primary["utilisation"]) == (1, 0.01)
        assert primary["total_connections"] == primary["idle_connections"] + 1


async def test_distribution_counts_leases(served: Api) -> None:
    assert (await served.untimed(DISTRIBUTION))["replicaReadShare"] is None
    await read(served, 9)
    await read(served, 1, prefer_replica=False)
    await write(served)
    assert await served.untimed(DISTRIBUTION) == {
        "source": "pool",
        "worker": os.getpid(),
        "primary": {"reads": 1, "writes": 1},
        "replicas": {name: {"reads": 3, "writes": 0} for name in REPLICAS},
        "replicaReadShare": 0.9,
    }


async def test_watching_is_not_counted(served: Api) -> None:
    for path in JSON_PATHS:
        await served.client.get(path)
    assert (await served.untimed(DISTRIBUTION))["primary"] == {"reads": 0, "writes": 0}


async def test_replication(served: Api, local_fleet: LocalFleet) -> None:
    told = await served.untimed(REPLICATION)
    assert (told["primary"], told["privilege"]) == ("primary", "full")
    assert [standby["application_name"] for standby in told["standbys"]] == [*REPLICAS]
    standby = told["standbys"][0]
    assert (standby["state"], standby["client_addr"]) == ("streaming", "127.0.0.1")
    assert standby["sync_state"] == "async"
    assert standby["connection_age_seconds"] >= 0
    assert all("/" in standby[f"{step}_lsn"] for step in ("sent", "write", "flush", "replay"))
    assert [slot["slot_name"] for slot in told["slots"]] == ["replica_1", "replica_2", "replica_3"]
    slot = told["slots"][0]
    assert (slot["slot_type"], slot["active"], slot["wal_status"]) == ("physical", True, "reserved")
    assert slot["retained_bytes"] >= 0


async def test_a_plain_role_is_told_that_it_sees_little(local_fleet: LocalFleet) -> None:
    async with api(local_fleet.environ(plain=True)) as served:
        told = await served.json(REPLICATION)
    assert told["privilege"] == "limited"
    assert [standby["application_name"] for standby in told["standbys"]] == [*REPLICAS]
    assert told["standbys"][0]["state"] is None
    assert len(told["slots"]) == 3


async def test_explain(served: Api) -> None:
    told = await served.untimed(EXPLAIN)
    assert told["candidates"] == [*REPLICAS, "primary"]
    assert [node["name"] for node in told["nodes"]] == ["primary", *REPLICAS]
    assert all(node["candidate"] for node in told["nodes"])
    assert told["nodes"][1]["role"] == "replica"
    assert 0 <= told["nodes"][1]["stalenessBoundSeconds"] < 10


async def test_explain_a_critical_read(served: Api) -> None:
    told = await served.untimed(f"{EXPLAIN}?prefer_replica=false")
    assert told["candidates"] == ["primary"]
    assert told["nodes"][1]["reason"] == "the read prefers the primary"


@pytest.mark.parametrize("org_id", [7, "7", "seven"])
async def test_explain_knows_an_org_that_is_writing(local_fleet: LocalFleet, org_id: object) -> None:
    async with api(local_fleet.environ()) as served, served.router.write(org_id=org_id):
        told = await served.untimed(f"{EXPLAIN}?org_id={org_id}")
        assert told["candidates"] == ["primary"]
        assert told["nodes"][1]["reason"] == "has not replayed what this read must see"
        assert (await served.untimed(f"{EXPLAIN}?org_id=8"))["candidates"] == [*REPLICAS, "primary"]


async def test_explain_tells_who_lacks_how_much_of_what_a_token_covers(local_fleet: LocalFleet) -> None:
    secret = {"PGFLEET_TOKEN_SECRET": "0123456789abcdef" * 2}
    local_fleet.lag("replica-1", paused=True)
    try:
        async with api(local_fleet.environ() | secret) as served:
            await served.router.execute("create table if not exists told (n int)")
            await served.router.execute("insert into told select generate_series(1, 1000)")
            query = f"after={await served.router.token()}"
            told = await until(served, query, lambda row: row["replica-2"]["satisfied"])
            assert re.fullmatch("[0-9A-F]+/[0-9A-F]+ on timeline [0-9]+", told["mustSee"])
            rows = {row["name"]: row for row in told["nodes"]}
            assert (rows["replica-1"]["satisfied"], rows["replica-1"]["candidate"]) == (False, False)
            assert rows["replica-1"]["behindBytes"] > 10_000
            assert (rows["replica-2"]["satisfied"], rows["replica-2"]["behindBytes"]) == (True, 0)
            assert rows["primary"]["satisfied"] is True
            assert "replica-2" in told["candidates"]
            assert "replica-1" not in told["candidates"]
            few = await until(served, "max_lag_bytes=100", lambda row: row["replica-2"]["candidate"])
            assert "replica-1" not in few["candidates"]
            assert (await served.untimed(f"{EXPLAIN}?after=forged"))["mustSee"] is None
            assert (await served.untimed(f"{EXPLAIN}?consistency=strong"))["candidates"] == ["primary"]
    finally:
        local_fleet.lag("replica-1", 0)


async def until(served: Api, query: str, holds: Callable[[dict[str, Any]], bool]) -> Any:
    """The first explanation of which this holds."""
    for _ in range(100):
        told = await served.untimed(f"{EXPLAIN}?{query}")
        if holds({row["name"]: row for row in told["nodes"]}):
            return told
        await asyncio.sleep(0.05)
    raise AssertionError(told)


@pytest.mark.parametrize("query", ["consistency=session", "after=x"], ids=["session", "no secret"])
async def test_what_explain_cannot_answer_is_no_error_of_ours(served: Api, query: str) -> None:
    response = await served.client.get(f"{EXPLAIN}?{query}")
    assert response.status_code == 409
    assert "needs a session" in response.text or "PGFLEET_TOKEN_SECRET" in response.text


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/nodes/primary/primary", (200, "primary")),
        ("/nodes/primary/replica", (503, "is_primary")),
        ("/nodes/primary/health", (200, "healthy")),
        ("/nodes/replica-1/primary", (503, "in_recovery")),
        ("/nodes/replica-1/replica", (200, "replica")),
        ("/nodes/replica-1/replica?lag=1MB", (200, "replica")),
        ("/nodes/replica-1/replica?lag=500ms", (200, "replica")),
        ("/nodes/replica-3/health", (200, "healthy")),
        ("/nodes/replica-4/health", (404, "unconfigured")),
        ("/nodes/replica-4/replica?lag=1GB", (404, "unconfigured")),
        ("/primary", (200, "primary")),
        ("/replica", (200, "replica")),
        ("/replica?lag=1m", (200, "replica")),
        ("/liveness", (200, "alive")),
        ("/readiness", (200, "ready")),
    ],
)
async def test_probe(local_fleet: LocalFleet, path: str, answer: tuple[int, str]) -> None:
    async with api(local_fleet.environ()) as served:

        async def as_expected() -> bool:
            return await served.probe(path) == answer

        assert await eventually_async(as_expected)


@pytest.mark.parametrize(
    "lag", ["1", "MB", "-1s", "1.5s", "1mb", "1h", "", "1MB%0A", "9999999999s", "%D9%A1s"]
)
async def test_a_malformed_lag(local_fleet: LocalFleet, lag: str) -> None:
    async with api(local_fleet.environ()) as served:
        for path in ("/replica", "/nodes/replica-1/replica"):
            assert (await served.client.get(f"{path}?lag={lag}")).status_code == 422


async def test_head_is_get_without_the_body(served: Api) -> None:
    for path in (*PROBES, *JSON_PATHS):
        asked, got = await served.client.head(path), await served.client.get(path)
        assert (asked.status_code, asked.content) == (got.status_code, b"")
        assert asked.headers["content-type"] == got.headers["content-type"]


async def test_head_sends_no_body_whatever_the_server_makes_of_it(served: Api) -> None:
    """httpx, as most servers, would drop it without a word."""
    sent = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "HEAD", "path": "/liveness", "query_string": b"", "headers": []}
    await served.app(scope, receive, send)
    assert (b"content-length", b"5") in sent[0]["headers"]
    assert b"".join(message["body"] for message in sent[1:]) == b""


async def test_nothing_is_cached(served: Api) -> None:
    for path in (*PROBES, *JSON_PATHS, "/nowhere"):
        assert (await served.client.get(path)).headers["cache-control"] == "no-store"


async def test_an_answer_rests_on_fresh_observations(local_fleet: LocalFleet) -> None:
    """With the guide's interval of 30 s a look at the fleet must not be 30 s old."""
    async with api(local_fleet.environ() | {"REPLICA_HEALTH_CHECK_INTERVAL": "30000"}) as served:
        engine = served.router.engine

        def oldest_s() -> float:
            nodes = served.router.topology.nodes
            return float(engine.board.now_s() - min(node.observation.answered_s for node in nodes))

        async def grown_old() -> bool:
            return oldest_s() > 1.0

        assert await eventually_async(grown_old)
        await served.json(LAG)
        assert oldest_s() < 1.0


async def test_servers_count_all_their_clients(local_fleet: LocalFleet) -> None:
    environ = local_fleet.environ()
    async with (
        api(environ, source="server") as served,
        AsyncReplicaRouter.from_env(environ) as application,
        application.write() as conn,
    ):
        await conn.execute("select 1")
        told = await served.untimed(POOLS)
    assert (told["source"], told["worker"]) == ("server", None)
    primary = told["primary"]
    assert primary["active_connections"] >= 1
    assert primary["total_connections"] == primary["active_connections"] + primary["idle_connections"]
    assert primary["max_connections"] == 200
    assert primary["utilisation"] == round(primary["total_connections"] / 200, 4)
    assert primary["privilege"] == "full"
    assert list(told["replicas"]) == [*REPLICAS]


async def test_a_service_without_pools_has_no_distribution(local_fleet: LocalFleet) -> None:
    async with api(local_fleet.environ(), source="server") as served:
        told = await served.untimed(DISTRIBUTION)
    assert (told["source"], told["replicaReadShare"]) == ("none", None)
    assert told["primary"] == {"reads": None, "writes": None}
    assert list(told["replicas"]) == [*REPLICAS]


@pytest.mark.parametrize("face", FACES)
async def test_a_router_that_is_not_open_can_tell_nothing(local_fleet: LocalFleet, face: Face) -> None:
    async with api(local_fleet.environ(), face) as served:
        pass
    async with client(served.app) as caller:
        assert (await caller.get(LAG)).status_code == 503
        assert "not open" in (await caller.get(LAG)).json()["detail"]
        assert (await caller.get("/readiness")).text == "closed"
        assert (await caller.get("/liveness")).status_code == 200
