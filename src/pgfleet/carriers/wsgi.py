"""Read your own writes from one HTTP request to the next, in any WSGI application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from contextvars import Context, ContextVar, copy_context
from typing import Any, ParamSpec, TypeVar

from pgfleet.carriers.seldom import Seldom
from pgfleet.carriers.sessions import BlockingRouter, Found, Opening, found
from pgfleet.carriers.web import Names

P = ParamSpec("P")
T = TypeVar("T")

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]


class ConsistencyMiddleware:
    """Runs each request in a session that sees what the same browser has written before, through any process.

    `router`: a ReplicaRouter, or a callable that returns it. A request that wrote, or whose token a promotion has made
    void, gets one: as a cookie (HttpOnly, SameSite=Lax, `secure`, for `max_age_s`) and as a header. The next request
    brings back either, the header counts. What was written after `start_response` was called is not in it. The session
    lasts until the body is closed.
    """

    def __init__(
        self,
        app: App,
        router: Found[BlockingRouter],
        *,
        cookie: str = "pgfleet",
        header: str = "x-pgfleet-token",
        secure: bool = True,
        max_age_s: int = 600,
    ) -> None:
        self._app = app
        self._router = router
        self._names = Names(cookie, header, secure=secure, max_age_s=max_age_s)
        self._header = "HTTP_" + self._names.header.upper().replace("-", "_")
        self._seldom = Seldom()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        request = _Request(
            found(self._router), self._received(environ), self._names, self._seldom, start_response
        )
        try:
            body = request.run(self._app, environ, request.start)
        except BaseException:
            request.end()
            raise
        if _is_complete(body, environ):
            request.end()
            return body
        return _Body(request, body)

    def _received(self, environ: Environ) -> str | None:
        header, cookies = environ.get(self._header, ""), environ.get("HTTP_COOKIE", "")
        return self._names.received((header,), (cookies,))


class _Request:
    """One request, whose session is the thread's only while the application's own code runs."""

    def __init__(
        self, router: BlockingRouter, after: str | None, names: Names, seldom: Seldom, start: StartResponse
    ) -> None:
        self._names = names
        self._seldom = seldom
        self._start = start
        self._stack = ExitStack()
        before = copy_context()
        self._context = before.copy()
        self._opened = self._context.run(self._stack.enter_context, Opening(router, after))
        self._variables = _changed(before, self._context)

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do a part of the work with the session's context variables set, and put back what the thread had in them.

        A server's thread serves many requests, and nothing but this marks where one ends. All else in its context is
        the application's: it stays, because frameworks keep there what they reuse (Django its caches).
        """
        resets = [variable.set(value) for variable, value in self._variables.items()]
        try:
            return work(*args, **kwargs)
        finally:
            self._variables = {variable: variable.get() for variable in self._variables}
            for reset in resets:
                reset.var.reset(reset)

    def start(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
        """The application's `start_response`."""
        told = self._headers() if self._opened.has_news else ()
        return self._start(status, [*headers, *told], *exc_info)

    def end(self) -> None:
        """End the session. Again: nothing."""
        self._context.run(self._stack.close)

    def _headers(self) -> Iterable[tuple[str, str]]:
        """None when there is no token to be had: what was written is written, and the response tells it."""
        try:
            token = self._opened.context.copy().run(self._opened.router.token)
        except Exception as error:
            self._seldom.warn("A response takes no consistency token along: %s", error)
            return ()
        return self._names.sent(token)


class _Body:
    """A body that is still being made: the session ends when it is closed."""

    def __init__(self, request: _Request, body: Iterable[bytes]) -> None:
        self._request = request
        self._body = body
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._chunks is None:
            self._chunks = self._request.run(iter, self._body)
        return self._request.run(next, self._chunks)

    def close(self) -> None:
        """Close the application's body, and end the session."""
        try:
            if close := getattr(self._body, "close", None):
                self._request.run(close)
        finally:
            self._request.end()


def _is_complete(body: Iterable[bytes], environ: Environ) -> bool:
    """Whether no code of the application runs any more: servers treat such bodies better than one of ours."""
    of_server = environ.get("wsgi.file_wrapper")
    return type(body) in (list, tuple) or (isinstance(of_server, type) and isinstance(body, of_server))


def _changed(before: Context, after: Context) -> dict[ContextVar[Any], Any]:
    return {variable: value for variable, value in after.items() if before.get(variable) is not value}
