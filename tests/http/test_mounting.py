"""The API inside another application, under a prefix of its choice."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from pgfleet import AsyncReplicaRouter, ReplicaRouter
from pgfleet.engine import Engine
from pgfleet.http import create_app
from pgfleet.local import LocalFleet
from tests.http.api import DISTRIBUTION, LAG, TOKEN, client

PAGE = Path(__file__).parents[2] / "docs/reference/http.md"


@asynccontextmanager
async def mounted(environ: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    router = AsyncReplicaRouter.from_env(environ, driver="asyncpg")
    app = FastAPI()

    @app.get("/rooms")
    async def rooms() -> list[int]:
        return [row[0] for row in await router.fetch("select 101")]

    app.mount("/internal/fleet", create_app(router, auth=TOKEN))
    async with router, client(app) as caller:
        yield caller


async def test_it_shows_the_application_s_own_reads(local_fleet: LocalFleet) -> None:
    async with mounted(local_fleet.environ()) as caller:
        for _ in range(4):
            assert (await caller.get("/rooms")).json() == [101]
        told = (await caller.get(f"/internal/fleet{DISTRIBUTION}")).json()
    assert told["source"] == "pool"
    assert sum(node["reads"] for node in told["replicas"].values()) + told["primary"]["reads"] == 4


async def test_every_rule_holds_under_the_prefix(local_fleet: LocalFleet) -> None:
    async with mounted(local_fleet.environ()) as caller:
        nobody = {"authorization": ""}
        assert (await caller.get(f"/internal/fleet{LAG}", headers=nobody)).status_code == 401
        assert (await caller.get("/internal/fleet/nodes/primary/primary", headers=nobody)).text == "primary"
        assert (await caller.post(f"/internal/fleet{LAG}")).status_code == 405
        assert (await caller.head(f"/internal/fleet{LAG}")).content == b""
        assert (await caller.get(LAG)).status_code == 404


async def test_the_description_names_the_prefix(local_fleet: LocalFleet) -> None:
    async with mounted(local_fleet.environ()) as caller:
        schema = (await caller.get("/internal/fleet/openapi.json")).json()
    assert schema["servers"] == [{"url": "/internal/fleet"}]
    assert LAG in schema["paths"]


async def test_a_threaded_router_does_not_hold_the_loop_up(
    local_fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its probe blocks a thread, the loop goes on, and what it goes on to ends the probe."""
    with ReplicaRouter.from_env(local_fleet.environ()) as router:
        release, entered = threading.Event(), threading.Event()

        async def blocks(engine: Engine[Any], older_than_s: float) -> None:
            entered.set()
            assert release.wait(10)

        monkeypatch.setattr(Engine, "refresh", blocks)
        async with client(create_app(router, auth=TOKEN)) as caller:
            asked = asyncio.create_task(caller.get("/v1/system/database/routing/explain?max_lag_s=1"))
            while not entered.is_set():
                await asyncio.sleep(0.001)
            assert not asked.done()
            release.set()
            assert (await asked).status_code == 200


async def test_the_page_s_example_runs(local_fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (local_fleet.environ() | {"PGFLEET_API_TOKEN": TOKEN}).items():
        monkeypatch.setenv(name, value)
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, str(PAGE), "exec", dont_inherit=True), names)
    app: FastAPI = names["app"]
    lifespan: Callable[[FastAPI], Any] = app.router.lifespan_context
    async with lifespan(app), client(app) as caller:
        assert (await caller.get(f"/fleet{LAG}")).status_code == 200
