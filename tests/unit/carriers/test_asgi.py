from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from pgfleet.carriers.asgi import App, ConsistencyMiddleware, Message, Receive, Scope, Send
from tests.unit.carriers.fake import NO_PRIMARY, FakeAsyncRouter

HEADER = "x-pgfleet-token"


@pytest.fixture
def router() -> FakeAsyncRouter:
    return FakeAsyncRouter()


def client(app: App, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="https://hotel.example", headers=headers)


def hotel(router: FakeAsyncRouter) -> FastAPI:
    app = FastAPI()

    @app.get("/rooms")
    async def rooms() -> int:
        return router.sees()

    @app.post("/rooms")
    async def book() -> int:
        return router.write()

    @app.post("/refused")
    async def refused() -> None:
        router.write()
        raise HTTPException(409)

    @app.post("/broken")
    async def broken() -> None:
        router.write()
        raise ZeroDivisionError

    return app


def guarded(router: FakeAsyncRouter, **options: Any) -> ConsistencyMiddleware:
    return ConsistencyMiddleware(hotel(router), router, **options)


async def test_what_was_written_is_seen_by_the_next_request(router: FakeAsyncRouter) -> None:
    async with client(guarded(router)) as browser:
        assert (await browser.get("/rooms")).json() == 0
        written = (await browser.post("/rooms")).json()
        assert (await browser.get("/rooms")).json() == written
        assert (await browser.get("/rooms")).json() == written


async def test_a_program_brings_the_header_which_counts(router: FakeAsyncRouter) -> None:
    async with client(guarded(router)) as browser:
        headers = {HEADER: "token-7", "cookie": "pgfleet=token-8"}
        assert (await browser.get("/rooms", headers=headers)).json() == 7


async def test_the_token_goes_out_as_cookie_and_header(router: FakeAsyncRouter) -> None:
    async with client(guarded(router, max_age_s=5)) as browser:
        response = await browser.post("/rooms")
    assert response.headers[HEADER] == f"token-{response.json()}"
    assert response.headers.get_list("set-cookie") == [
        f"pgfleet=token-{response.json()}; Max-Age=5; Path=/; HttpOnly; SameSite=Lax; Secure"
    ]


async def test_names_and_attributes_are_the_caller_s(router: FakeAsyncRouter) -> None:
    async with client(guarded(router, cookie="mine", header="X-Mine", secure=False)) as browser:
        response = await browser.post("/rooms")
        assert "x-mine" in response.headers
        assert response.headers["set-cookie"].startswith("mine=token-")
        assert (await browser.get("/rooms")).json() == response.json()


async def test_who_only_reads_gets_nothing(router: FakeAsyncRouter) -> None:
    async with client(guarded(router)) as browser:
        response = await browser.get("/rooms", headers={HEADER: "token-7"})
    assert response.json() == 7
    assert {HEADER, "set-cookie"}.isdisjoint(response.headers)
    assert router.issued == 0


@pytest.mark.parametrize(
    "raw", [b"\xff", "t\u00f6ken".encode(), b"x" * 1_000_000, b"", b"a b", b"%00", b"=;=;,"]
)
async def test_garbage_is_not_passed_on(router: FakeAsyncRouter, raw: bytes) -> None:
    async with client(guarded(router)) as browser:
        for header in [(b"cookie", b"pgfleet=" + raw), (HEADER.encode(), raw)]:
            assert (await browser.get("/rooms", headers=[header])).json() == 0
    assert router.received == [None, None]


async def test_what_only_looks_like_a_token_is_the_router_s_to_refuse(router: FakeAsyncRouter) -> None:
    async with client(guarded(router), cookie="pgfleet=forged; pgfleet=token-1") as browser:
        assert (await browser.get("/rooms")).status_code == 200
    assert router.received == ["forged"]


async def test_a_router_that_refuses_tokens_by_an_error_breaks_no_request() -> None:
    router = FakeAsyncRouter(strict=True)
    async with client(guarded(router), cookie="pgfleet=forged") as browser:
        assert (await browser.get("/rooms")).status_code == 200
    assert router.received == [None]


@pytest.mark.parametrize("trouble", [NO_PRIMARY, TimeoutError(), ZeroDivisionError()])
async def test_without_a_token_the_response_goes_out(
    router: FakeAsyncRouter, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    async with client(guarded(router)) as browser:
        written = (await browser.post("/rooms")).json()
        router.trouble = trouble
        for _ in range(3):
            response = await browser.post("/rooms")
            assert response.status_code == 200
            assert {HEADER, "set-cookie"}.isdisjoint(response.headers)
        assert browser.cookies["pgfleet"] == f"token-{written}"
    assert [record.levelno for record in caplog.records if record.name == "pgfleet.carriers"] == [
        logging.WARNING
    ]


async def test_a_response_that_refuses_takes_the_token_too(router: FakeAsyncRouter) -> None:
    async with client(guarded(router)) as browser:
        assert (await browser.post("/refused")).status_code == 409
        assert (await browser.get("/rooms")).json() == 1000


async def test_so_does_the_answer_to_an_exception_when_all_of_the_application_is_wrapped(
    router: FakeAsyncRouter,
) -> None:
    async with client(guarded(router)) as browser:
        assert (await browser.post("/broken")).status_code == 500
        assert (await browser.get("/rooms")).json() == 1000


async def test_an_exception_passes_and_ends_the_session(router: FakeAsyncRouter) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        router.write()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await httpx.AsyncClient(
            transport=httpx.ASGITransport(ConsistencyMiddleware(broken, router)),
            base_url="https://hotel.example",
        ).get("/")
    assert router.present is None
    assert router.sessions[0].ended


async def test_fifty_requests_at_once_keep_to_themselves(router: FakeAsyncRouter) -> None:
    inside = asyncio.Barrier(50)
    app = FastAPI()

    @app.post("/{number}")
    async def serve(number: int) -> tuple[int, int]:
        await inside.wait()
        before = router.sees()
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(3)))
        written = router.write() if number % 2 else 0
        await inside.wait()
        assert router.sees() == (written or number)
        return before, written

    async def ask(browser: httpx.AsyncClient, number: int) -> None:
        response = await browser.post(f"/{number}", headers={HEADER: f"token-{number}"})
        before, written = response.json()
        assert before == number
        assert response.headers.get(HEADER) == (f"token-{written}" if written else None)

    async with client(ConsistencyMiddleware(app, router)) as browser, asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(ask(browser, number))
    assert router.present is None
    assert all(session.ended for session in router.sessions)


async def test_a_body_that_streams_is_in_the_session(router: FakeAsyncRouter) -> None:
    app = hotel(router)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            for _ in range(3):
                await asyncio.sleep(0)
                yield f"{router.sees()}\n"

        return StreamingResponse(lines())

    async with client(ConsistencyMiddleware(app, router)) as browser:
        assert (await browser.get("/stream", headers={HEADER: "token-7"})).text == "7\n7\n7\n"


async def test_work_after_the_response_is_in_the_session(router: FakeAsyncRouter) -> None:
    seen = []
    app = FastAPI()

    @app.post("/")
    async def book(later: BackgroundTasks) -> int:
        later.add_task(lambda: seen.append(router.sees()))
        return router.write()

    async with client(ConsistencyMiddleware(app, router)) as browser:
        assert (await browser.post("/")).json() == 1000
    assert seen == [1000]


async def test_a_task_that_outlives_the_request_has_no_session(router: FakeAsyncRouter) -> None:
    end = asyncio.Event()
    tasks = []

    async def outlive() -> int:
        await end.wait()
        return router.sees()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        router.write()
        tasks.append(asyncio.create_task(outlive()))
        await Response()(scope, receive, send)

    async with client(ConsistencyMiddleware(app, router)) as browser:
        await browser.get("/")
    end.set()
    assert await tasks[0] == 0


async def test_a_response_from_another_task_takes_this_session_s_token(router: FakeAsyncRouter) -> None:
    """As with a middleware of Starlette that runs the application in a task, or from a task of before the request."""
    senders: asyncio.Queue[Send] = asyncio.Queue()

    async def serve() -> None:
        send = await senders.get()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        senders.task_done()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        router.write()
        senders.put_nowait(send)
        await senders.join()

    server = asyncio.create_task(serve())
    async with client(ConsistencyMiddleware(app, router)) as browser:
        assert (await browser.get("/")).headers[HEADER] == "token-1000"
    await server


async def test_a_response_inside_a_session_of_the_application_takes_the_request_s_token(
    router: FakeAsyncRouter,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        router.write()
        with router.session():
            await Response()(scope, receive, send)

    async with client(ConsistencyMiddleware(app, router)) as browser:
        assert (await browser.get("/")).headers[HEADER] == "token-1000"


async def test_it_is_added_as_any_middleware(router: FakeAsyncRouter) -> None:
    app = hotel(router)

    async def aside(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=aside)
    app.add_middleware(ConsistencyMiddleware, router=router)
    async with client(app) as browser:
        written = (await browser.post("/rooms")).json()
        assert (await browser.get("/rooms")).json() == written


async def test_a_router_that_is_opened_in_the_lifespan(router: FakeAsyncRouter) -> None:
    opened: list[FakeAsyncRouter] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened.append(router)
        yield

    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/rooms", lambda: router.write(), methods=["POST"])
    guarded = ConsistencyMiddleware(app, lambda: opened[0])
    said: list[Message] = []
    to_say: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return to_say.pop(0)

    async def send(message: Message) -> None:
        said.append(message)

    await guarded({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in said] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert router.sessions == []
    async with client(guarded) as browser:
        assert (await browser.post("/rooms")).headers[HEADER] == "token-1000"


async def test_a_websocket_is_one_session_that_sends_no_token(router: FakeAsyncRouter) -> None:
    sent: list[Message] = []
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(router.sees())
        router.write()
        seen.append(router.sees())
        await send({"type": "websocket.accept"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "headers": [(b"cookie", b"a=b; pgfleet=token-7")]}
    await ConsistencyMiddleware(app, router)(scope, receive, send)
    assert sent == [{"type": "websocket.accept"}]
    assert seen == [7, 1000]
    assert router.present is None
    assert router.issued == 0


async def test_the_application_s_own_message_is_left_as_it_was(router: FakeAsyncRouter) -> None:
    start: Message = {"type": "http.response.start", "status": 204, "headers": ((b"a", b"b"),)}
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        router.write()
        await send(start)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await ConsistencyMiddleware(app, router)({"type": "http"}, receive, send)
    assert start["headers"] == ((b"a", b"b"),)
    assert [name for name, _ in sent[0]["headers"]] == [b"a", b"set-cookie", b"x-pgfleet-token"]


async def test_what_a_promotion_lost_is_no_error_of_a_request_and_its_token_is_replaced(
    router: FakeAsyncRouter,
) -> None:
    async with client(guarded(router)) as browser:
        token = (await browser.post("/rooms")).headers[HEADER]
        router.lost.add(token)
        told = await browser.get("/rooms")
        assert (told.status_code, told.json()) == (200, 0)
        assert told.headers[HEADER] != token
        assert (await browser.get("/rooms")).status_code == 200
        assert router.received[-1] == told.headers[HEADER], "no process is asked about the old one again"
