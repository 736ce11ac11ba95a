"""Two processes of one application, whose replicas stand still: each sees what was written through the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, NamedTuple

import httpx
import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from fastapi import FastAPI
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from pgfleet import AsyncReplicaRouter, ReplicaRouter
from pgfleet.carriers import asgi, celery, wsgi
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually
from tests.faces import aside, environ

SECRET = "4f2d9c1ab0e87766" * 2
HEADER = "x-pgfleet-token"
COUNT = "select count(*) from carried"
INSERT = "insert into carried default values"
WITHIN_S = 20


class Process(NamedTuple):
    """One process of the application."""

    router: AsyncReplicaRouter[Any]
    browser: httpx.AsyncClient


@pytest.fixture(scope="module")
def table(fleet: LocalFleet) -> LocalFleet:
    """The fleet, with a table to write into."""
    fleet.sql("primary", "create table carried (at timestamptz default now())")
    for name in fleet.names:
        eventually(partial(has_table, fleet, name))
    return fleet


def has_table(fleet: LocalFleet, name: str) -> bool:
    return fleet.sql(name, "select to_regclass('carried') is not null")[0][0] in (True, "t")


def holds_all(fleet: LocalFleet, name: str) -> bool:
    return fleet.sql("primary", COUNT) == fleet.sql(name, COUNT)


def takes(router: Any, replicas: list[str]) -> bool:
    return set(replicas) <= set(router.explain().candidates)


@contextmanager
def standing_still(fleet: LocalFleet, *routers: Any) -> Iterator[None]:
    """No replica replays anything, and each router takes them for plain reads all the same: it knew them before."""
    replicas = [name for name in fleet.names if name != "primary"]
    for name in replicas:
        eventually(partial(holds_all, fleet, name))
    for router in routers:
        eventually(partial(takes, router, replicas))
    try:
        for name in replicas:
            fleet.lag(name, paused=True)
        yield
    finally:
        for name in replicas:
            fleet.lag(name, 0)


@asynccontextmanager
async def still(fleet: LocalFleet, *processes: Process) -> AsyncIterator[None]:
    """The same among tasks."""
    held = standing_still(fleet, *(process.router for process in processes))
    await aside(held.__enter__)
    try:
        yield
    finally:
        await aside(held.__exit__, None, None, None)


def settings(fleet: LocalFleet, **changes: str) -> dict[str, str]:
    """Plain reads take the replicas, however late: only what is asked for keeps them from it."""
    return environ(fleet, **{"PGFLEET_TOKEN_SECRET": SECRET, "PGFLEET_MAX_LAG_S": "3600", **changes})


def hotel(router: AsyncReplicaRouter[Any]) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def seen() -> int:
        return int(await router.fetch_value(COUNT))

    @app.post("/")
    async def write() -> None:
        await router.execute(INSERT)

    return app


@asynccontextmanager
async def process(fleet: LocalFleet, **changes: str) -> AsyncIterator[Process]:
    """A process with a router of its own, and a browser that asks it."""
    async with AsyncReplicaRouter.from_env(settings(fleet, **changes), driver="asyncpg") as router:
        transport = httpx.ASGITransport(asgi.ConsistencyMiddleware(hotel(router), router))
        async with httpx.AsyncClient(transport=transport, base_url="https://hotel.example") as browser:
            yield Process(router, browser)


def written(fleet: LocalFleet) -> int:
    """How much the primary holds."""
    return int(fleet.sql("primary", COUNT)[0][0])


async def test_the_cookie_of_one_process_counts_in_another(table: LocalFleet) -> None:
    async with process(table) as first, process(table) as second, still(table, second):
        stale = (await second.browser.get("/")).json()
        assert (await first.browser.post("/")).status_code == 200
        assert (await second.browser.get("/")).json() == stale  # a stranger's read: nobody promised more
        second.browser.cookies = first.browser.cookies
        assert (await second.browser.get("/")).json() == await aside(written, table) > stale


async def test_the_header_does_too(table: LocalFleet) -> None:
    async with process(table) as first, process(table) as second, still(table, second):
        token = (await first.browser.post("/")).headers[HEADER]
        seen = await second.browser.get("/", headers={HEADER: token})
        assert seen.json() == await aside(written, table)
        assert HEADER not in seen.headers


@pytest.mark.parametrize("errors", ["ignore", "raise"])
async def test_a_token_that_is_not_ours_is_as_none(table: LocalFleet, errors: str) -> None:
    async with process(table, PGFLEET_TOKEN_ERRORS=errors) as only, still(table, only):
        stale = (await only.browser.get("/")).json()
        token = (await only.browser.post("/")).headers[HEADER]
        only.browser.cookies.clear()
        for wrong in ("A" * 55, token[:-1], token[1:], token[::-1], ""):
            seen = await only.browser.get("/", headers={HEADER: wrong})
            assert (seen.status_code, seen.json()) == (200, stale)


async def test_a_token_of_another_secret_is_as_none(table: LocalFleet) -> None:
    other = process(table, PGFLEET_TOKEN_SECRET="x" * 32)
    async with process(table) as first, other as second, still(table, second):
        stale = (await second.browser.get("/")).json()
        token = (await first.browser.post("/")).headers[HEADER]
        assert (await second.browser.get("/", headers={HEADER: token})).json() == stale


async def test_without_a_secret_responses_go_out(table: LocalFleet) -> None:
    async with process(table, PGFLEET_TOKEN_SECRET="") as only:
        response = await only.browser.post("/")
    assert response.status_code == 200
    assert HEADER not in response.headers


def served(router: ReplicaRouter[Any]) -> Any:
    @Request.application
    def app(request: Request) -> Response:
        if request.method == "POST":
            router.execute(INSERT)
            return Response()
        return Response(stream(router))

    return wsgi.ConsistencyMiddleware(app, router, secure=False)


def stream(router: ReplicaRouter[Any]) -> Iterable[str]:
    yield str(router.fetch_value(COUNT))


def test_wsgi_reads_its_own_writes_while_it_streams(table: LocalFleet) -> None:
    opened = [ReplicaRouter.from_env(settings(table)) for _ in range(2)]
    with opened[0] as one, opened[1] as two, standing_still(table, two):
        token = Client(served(one)).post("/", buffered=True).headers[HEADER]
        browser = Client(served(two))
        stale = browser.get("/", buffered=True).text
        seen = browser.get("/", buffered=True, headers={HEADER: token}).text
        assert int(seen) == written(table) > int(stale)
        assert browser.get("/", buffered=True).text == stale  # nothing is left in the thread


def test_a_task_of_celery_sees_what_was_written_before_it_was_sent(table: LocalFleet) -> None:
    app = Celery("late", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(worker_hijack_root_logger=False, broker_transport_options={"polling_interval": 0.01})
    with ReplicaRouter.from_env(settings(table)) as router, standing_still(table, router):

        @app.task  # type: ignore[untyped-decorator]
        def seen() -> int:
            return int(router.fetch_value(COUNT))

        @Request.application
        def book(request: Request) -> Response:
            router.execute(INSERT)
            return Response(str(seen.delay().get(WITHIN_S, interval=0.01)))

        uninstall = celery.install(router)
        with start_worker(
            app, pool="solo", perform_ping_check=False, loglevel="warning", shutdown_timeout=WITHIN_S
        ):
            told = Client(wsgi.ConsistencyMiddleware(book, router)).post("/", buffered=True).text
            stale = seen.delay().get(WITHIN_S, interval=0.01)
        uninstall()
        assert int(told) == written(table) > stale
