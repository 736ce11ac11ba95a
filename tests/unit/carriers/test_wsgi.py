from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from io import BytesIO
from threading import Barrier
from typing import Any
from wsgiref.simple_server import ServerHandler
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from pgfleet.carriers.wsgi import App, ConsistencyMiddleware, Environ, StartResponse
from tests.unit.carriers.fake import NO_PRIMARY, FakeBlockingRouter

HEADER = "X-Pgfleet-Token"


@pytest.fixture
def router() -> FakeBlockingRouter:
    return FakeBlockingRouter()


class Browser(Client):
    """Closes what it was sent, as servers do."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        return super().open(*args, buffered=True, **kwargs)


def browser(app: App) -> Browser:
    return Browser(app)


def hotel(router: FakeBlockingRouter) -> App:
    @Request.application
    def app(request: Request) -> Response:
        if request.path == "/broken":
            raise ZeroDivisionError
        return Response(str(router.write() if request.method == "POST" else router.sees()))

    return app


def guarded(router: FakeBlockingRouter, **options: Any) -> App:
    return ConsistencyMiddleware(hotel(router), router, **{"secure": False, **options})


class Server:
    """Serves a request as a server's thread does, step by step."""

    def __init__(self, app: App, **environ: Any) -> None:
        self.head: list[tuple[str, list[tuple[str, str]]]] = []
        self.written: list[bytes] = []
        setup_testing_defaults(environ)
        self.body = app(environ, self.start)

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        self.head.append((status, headers))
        return self.written.append

    def close(self) -> None:
        if close := getattr(self.body, "close", None):
            close()

    @property
    def token(self) -> str | None:
        return dict(self.head[-1][1]).get("x-pgfleet-token")


def test_what_was_written_is_seen_by_the_next_request(router: FakeBlockingRouter) -> None:
    client = browser(guarded(router))
    assert client.get("/").text == "0"
    written = client.post("/").text
    assert [client.get("/").text, client.get("/").text] == [written, written]


def test_a_program_brings_the_header_which_counts(router: FakeBlockingRouter) -> None:
    client = browser(guarded(router))
    assert client.get("/", headers={HEADER: "token-7", "cookie": "pgfleet=token-8"}).text == "7"
    assert router.issued == 0


def test_the_token_goes_out_as_cookie_and_header(router: FakeBlockingRouter) -> None:
    response = browser(guarded(router, secure=True, cookie="mine", header="X-Mine", max_age_s=5)).post("/")
    assert response.headers["X-Mine"] == "token-1000"
    assert response.headers.getlist("Set-Cookie") == [
        "mine=token-1000; Max-Age=5; Path=/; HttpOnly; SameSite=Lax; Secure"
    ]


def test_who_only_reads_gets_nothing(router: FakeBlockingRouter) -> None:
    response = browser(guarded(router)).get("/", headers={HEADER: "token-7"})
    assert response.text == "7"
    assert not {HEADER, "Set-Cookie"} & set(response.headers.keys())


@pytest.mark.parametrize("raw", ["\xff", "t\u00f6ken", "x" * 1_000_000, "", "a b", "%00", "=;=;,"])
def test_garbage_is_not_passed_on(router: FakeBlockingRouter, raw: str) -> None:
    for environ in ({"HTTP_COOKIE": f"pgfleet={raw}"}, {"HTTP_X_PGFLEET_TOKEN": raw}):
        Server(guarded(router), **environ).close()
    assert router.received == [None, None]


def test_a_router_that_refuses_tokens_by_an_error_breaks_no_request() -> None:
    router = FakeBlockingRouter(strict=True)
    assert browser(guarded(router)).get("/", headers={HEADER: "forged"}).status_code == 200


def test_without_a_token_the_response_goes_out(
    router: FakeBlockingRouter, caplog: pytest.LogCaptureFixture
) -> None:
    client = browser(guarded(router))
    client.post("/")
    router.trouble = NO_PRIMARY
    for _ in range(3):
        response = client.post("/")
        assert response.status_code == 200
        assert not {HEADER, "Set-Cookie"} & set(response.headers.keys())
    cookie = client.get_cookie("pgfleet")
    assert cookie is not None
    assert cookie.value == "token-1000"
    assert [record.levelno for record in caplog.records if record.name == "pgfleet.carriers"] == [
        logging.WARNING
    ]


def test_an_exception_passes_and_ends_the_session(router: FakeBlockingRouter) -> None:
    with pytest.raises(ZeroDivisionError):
        browser(guarded(router)).get("/broken")
    assert router.sessions[0].ended
    assert router.present is None


def test_a_session_that_cannot_begin_is_told(router: FakeBlockingRouter) -> None:
    def closed() -> FakeBlockingRouter:
        raise RuntimeError("the router is not open")

    with pytest.raises(RuntimeError, match="not open"):
        Server(ConsistencyMiddleware(hotel(router), closed))


def generating(router: FakeBlockingRouter, seen: list[int] | None = None) -> App:
    """Does everything upon the first iteration, as generators do."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        try:
            router.write()
            start_response("200 OK", [])
            yield b"%d" % router.sees()
            yield b"%d" % router.sees()
        finally:
            if seen is not None:
                seen.append(router.sees())

    return app


def test_a_generator_is_in_the_session_until_it_is_closed(router: FakeBlockingRouter) -> None:
    seen: list[int] = []
    server = Server(ConsistencyMiddleware(generating(router, seen), router))
    assert server.head == []
    chunks = iter(server.body)
    assert next(chunks) == b"1000"
    assert server.token == "token-1000"
    assert router.present is None  # between two chunks the thread is nobody's
    assert next(chunks) == b"1000"
    assert not router.sessions[0].ended
    server.close()
    assert seen == [1000]
    assert router.sessions[0].ended
    server.close()


def test_a_body_that_is_never_closed_leaves_nothing_in_the_thread(router: FakeBlockingRouter) -> None:
    before = dict(copy_context())
    first = Server(ConsistencyMiddleware(generating(router), router))
    next(iter(first.body))
    assert dict(copy_context()) == before
    second = Server(guarded(router))
    assert b"".join(second.body) == b"0"


def test_bodies_that_take_turns_in_one_thread_keep_to_themselves(router: FakeBlockingRouter) -> None:
    servers = [Server(ConsistencyMiddleware(generating(router), router)) for _ in range(5)]
    bodies = [iter(server.body) for server in servers]
    first = [next(body) for body in bodies]
    assert [next(body) for body in reversed(bodies)] == first[::-1]
    assert len(set(first)) == 5
    assert [server.token for server in servers] == [f"token-{chunk.decode()}" for chunk in first]


def test_a_session_of_the_application_may_last_from_one_chunk_to_the_next(router: FakeBlockingRouter) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        with router.session("token-7"):
            yield b"%d" % router.sees()
            yield b"%d" % router.sees()
        yield b"%d" % router.sees()

    server = Server(ConsistencyMiddleware(app, router), HTTP_COOKIE="pgfleet=token-3")
    body = iter(server.body)
    assert next(body) == b"7"
    assert router.present is None
    assert [*body] == [b"7", b"7"]  # the outer one is told what the inner one saw
    server.close()
    assert router.present is None


def test_the_response_inside_a_session_of_the_application_takes_the_request_s_token(
    router: FakeBlockingRouter,
) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        router.write()
        with router.session():
            start_response("200 OK", [])
        return []

    assert Server(ConsistencyMiddleware(app, router)).token == "token-1000"


def test_what_the_application_keeps_in_the_thread_s_context_stays(router: FakeBlockingRouter) -> None:
    """A framework's caches and connections must not be made anew for each request."""
    kept: ContextVar[int] = ContextVar("kept", default=0)

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        kept.set(kept.get() + 1)
        start_response("200 OK", [])
        return [b"%d" % kept.get()]

    def twice() -> list[bytes]:
        return [*Server(served).body, *Server(served).body]

    served = ConsistencyMiddleware(app, router)
    assert copy_context().run(twice) == [b"1", b"2"]


def test_eight_threads_keep_to_themselves(router: FakeBlockingRouter) -> None:
    together = Barrier(8, timeout=10)

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        before = router.sees()
        together.wait()
        written = router.write() if before % 2 else before
        together.wait()
        start_response("200 OK", [])
        yield b"%d %d" % (before, written)
        together.wait()
        assert router.sees() == written
        yield b"."

    def serve(number: int) -> None:
        assert router.present is None
        server = Server(served, HTTP_COOKIE=f"pgfleet=token-{number}")
        before, written = (int(part) for part in b"".join(server.body).rstrip(b".").split())
        server.close()
        assert before == number
        assert server.token == (f"token-{written}" if number % 2 else None)
        assert router.present is None

    served = ConsistencyMiddleware(app, router)
    with ThreadPoolExecutor(
        8
    ) as pool:  # 80 requests, ten in each thread, the next with another browser's token
        for _ in pool.map(serve, range(80)):
            pass
    assert all(session.ended for session in router.sessions)


class TestWhatServersExpect:
    def test_it_is_an_application_by_the_rules(self, router: FakeBlockingRouter) -> None:
        client = browser(validator(ConsistencyMiddleware(validator(hotel(router)), router, secure=False)))
        written = client.post("/").text
        assert client.get("/").text == written

    @pytest.mark.parametrize("body", [[b"a", b"b"], (b"a",), []])
    def test_a_finished_body_is_passed_on_as_it_is(
        self, router: FakeBlockingRouter, body: Iterable[bytes]
    ) -> None:
        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [])
            return body

        server = Server(ConsistencyMiddleware(app, router))
        assert server.body is body  # its length tells the server the Content-Length
        assert router.sessions[0].ended

    def test_a_file_that_the_server_sends_by_itself(self, router: FakeBlockingRouter) -> None:
        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [])
            body: Iterable[bytes] = environ["wsgi.file_wrapper"](BytesIO(b"file"))
            return body

        guarded = ConsistencyMiddleware(app, router)
        assert isinstance(Server(guarded, **{"wsgi.file_wrapper": FileWrapper}).body, FileWrapper)
        server = Server(guarded, **{"wsgi.file_wrapper": lambda file: FileWrapper(file)})
        assert b"".join(server.body) == b"file"

    def test_write_is_the_server_s(self, router: FakeBlockingRouter) -> None:
        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            router.write()
            write = start_response("200 OK", [])
            write(b"old style")
            return []

        server = Server(ConsistencyMiddleware(app, router))
        assert server.written == [b"old style"]
        assert server.token == "token-1000"

    def test_an_error_after_the_start_goes_on_to_the_server(self, router: FakeBlockingRouter) -> None:
        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("a", "b")])
            router.write()
            try:
                raise ZeroDivisionError
            except ZeroDivisionError:
                start_response("500 Broken", [], sys.exc_info())
            return []

        server = Server(ConsistencyMiddleware(app, router))
        assert [status for status, _ in server.head] == ["200 OK", "500 Broken"]
        assert server.head[0][1] == [("a", "b")]
        assert server.token == "token-1000"

    def test_when_the_server_can_no_longer_change_its_mind(self, router: FakeBlockingRouter) -> None:
        def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", [("content-type", "text/plain")])
            yield b"sent"
            try:
                raise ZeroDivisionError
            except ZeroDivisionError:
                start_response("500 Broken", [("content-type", "text/plain")], sys.exc_info())

        environ: Environ = {}
        setup_testing_defaults(environ)
        out, log = BytesIO(), BytesIO()
        handler = ServerHandler(BytesIO(), out, log, environ, multithread=False)  # type: ignore[arg-type]
        handler.log_exception = lambda exc_info: None  # type: ignore[method-assign]
        handler.run(ConsistencyMiddleware(app, router))
        assert out.getvalue().startswith(b"HTTP/1.0 200 OK")
        assert router.sessions[0].ended

    def test_close_is_called_once_also_when_the_body_failed(self, router: FakeBlockingRouter) -> None:
        closed: list[int] = []

        class Body:
            def __iter__(self) -> Iterator[bytes]:
                router.write()
                raise ZeroDivisionError

            def close(self) -> None:
                closed.append(router.sees())

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            return Body()

        server = Server(ConsistencyMiddleware(app, router))
        with pytest.raises(ZeroDivisionError):
            next(iter(server.body))
        server.close()
        assert closed == [1000]
        assert router.sessions[0].ended

    def test_a_close_that_fails_ends_the_session_too(self, router: FakeBlockingRouter) -> None:
        class Body(list[bytes]):
            def close(self) -> None:
                raise ZeroDivisionError

        server = Server(ConsistencyMiddleware(lambda environ, start_response: Body(), router))
        with pytest.raises(ZeroDivisionError):
            server.close()
        assert router.sessions[0].ended

    def test_another_thread_may_go_on_with_the_body(self, router: FakeBlockingRouter) -> None:
        server = Server(ConsistencyMiddleware(generating(router), router))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(b"".join, server.body).result() == b"10001000"
            pool.submit(server.close).result()
        assert router.sessions[0].ended


def test_what_a_promotion_lost_is_no_error_of_a_request_and_its_token_is_replaced(
    router: FakeBlockingRouter,
) -> None:
    someone = browser(guarded(router))
    token = someone.post("/rooms").headers[HEADER]
    router.lost.add(token)
    told = someone.get("/rooms")
    assert (told.status_code, told.text) == (200, "0")
    assert told.headers[HEADER] != token
    assert someone.get("/rooms").status_code == 200
    assert router.received[-1] == told.headers[HEADER], "no process is asked about the old one again"
