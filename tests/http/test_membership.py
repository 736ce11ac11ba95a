"""The API lists the nodes that the router has now, not those that it began with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgfleet.local import LocalFleet
from pgfleet.testing import eventually_async
from tests.http.api import DISTRIBUTION, EXPLAIN, FACES, HEALTH, LAG, POOLS, Api, Face, api


async def listed(of: Api) -> list[set[str]]:
    """The replicas by each endpoint that lists them."""
    lag, pools, distribution = [await of.json(path) for path in (LAG, POOLS, DISTRIBUTION)]
    explained = {row["name"] for row in (await of.json(EXPLAIN))["nodes"]} - {"primary"}
    assert (await of.json(HEALTH))["replicaCount"] == len(explained)
    return [
        {row["name"] for row in lag["replicas"]},
        {*pools["replicas"]},
        {*distribution["replicas"]},
        explained,
    ]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("source", ["pool", "server"])
async def test_nodes_that_come_and_go(local_fleet: LocalFleet, face: Face, source: str) -> None:
    async with api(local_fleet.environ(), face, source=source) as served:
        first, second, third = served.router.settings.replicas
        members = served.router.engine.members
        assert await listed(served) == [{"replica-1", "replica-2", "replica-3"}] * 4
        members.become((first, replace(second, name="other"), third))
        await eventually_async(lambda: _is(served, {"replica-1", "other", "replica-3"}))
        assert await served.probe("/nodes/replica-2/health") == (404, "unconfigured")
        await eventually_async(lambda: _says(served, "/nodes/other/replica", (200, "replica")))
        members.become((first, replace(second, name="other", draining=True), third))
        assert await served.probe("/nodes/other/replica") == (503, "drained")
        assert await served.probe("/nodes/other/health") == (200, "healthy")
        explained = {row["name"]: row["reason"] for row in (await served.json(EXPLAIN))["nodes"]}
        assert explained["other"] == "is being drained"


async def _is(of: Api, names: set[str]) -> bool:
    return await listed(of) == [names] * 4


async def _says(of: Api, path: str, answer: tuple[int, str]) -> bool:
    return await of.probe(path) == answer
