"""The monitoring API over a real fleet, asked in this process."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import httpx

from pgfleet import AsyncReplicaRouter, ReplicaRouter
from pgfleet.http import create_app

Face = Literal["asyncpg", "psycopg", "threads"]
FACES: tuple[Face, ...] = ("asyncpg", "psycopg", "threads")
TOKEN = "4f2d9c1ab0e87766"
SYSTEM = "/v1/system/database"
LAG = f"{SYSTEM}/replicas/lag"
HEALTH = f"{SYSTEM}/replicas/health"
POOLS = f"{SYSTEM}/connection-pool/stats"
REPLICATION = f"{SYSTEM}/replicas/replication"
DISTRIBUTION = f"{SYSTEM}/queries/distribution"
EXPLAIN = f"{SYSTEM}/routing/explain"
JSON_PATHS = (LAG, HEALTH, POOLS, REPLICATION, DISTRIBUTION, EXPLAIN, "/openapi.json")
NODE_PROBES = tuple(f"/nodes/replica-1/{word}" for word in ("primary", "replica", "health"))
PROBES = (*NODE_PROBES, "/primary", "/replica", "/liveness", "/readiness")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Api:
    """The application, the router behind it, and a client with the token."""

    def __init__(self, app: Any, router: Any, client: httpx.AsyncClient) -> None:
        self.app = app
        self.router = router
        self.client = client

    async def json(self, path: str) -> dict[str, Any]:
        """What an endpoint answers, which must be 200."""
        response = await self.client.get(path)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def untimed(self, path: str) -> dict[str, Any]:
        """The same without its timestamp, which must be one."""
        answer = await self.json(path)
        assert TIMESTAMP.fullmatch(answer.pop("timestamp"))
        return answer

    async def probe(self, path: str) -> tuple[int, str]:
        """Status and word of a probe path, asked without a token."""
        response = await self.client.get(path, headers={"authorization": ""})
        assert response.headers["content-type"].startswith("text/plain")
        return response.status_code, response.text


@asynccontextmanager
async def api(environ: dict[str, str], face: Face = "asyncpg", **options: Any) -> AsyncIterator[Api]:
    """The API over an open router."""
    async with AsyncExitStack() as stack:
        router: Any
        if face == "threads":
            router = stack.enter_context(ReplicaRouter.from_env(environ))
        else:
            router = await stack.enter_async_context(AsyncReplicaRouter.from_env(environ, face))
        app = create_app(router, **{"auth": TOKEN, **options})
        yield Api(app, router, await stack.enter_async_context(client(app)))


def client(app: Any, token: str = TOKEN) -> httpx.AsyncClient:
    """A client of an ASGI application."""
    headers = {"authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers)
