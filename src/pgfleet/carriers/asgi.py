"""Read your own writes from one HTTP request to the next, in any ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pgfleet.carriers.seldom import Seldom
from pgfleet.carriers.sessions import AsyncRouter, Found, Opened, Opening, found
from pgfleet.carriers.web import Names

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class ConsistencyMiddleware:
    """Runs each request in a session that sees what the same browser has written before, through any process.

    `router`: an AsyncReplicaRouter, or a callable that returns it: it is often opened in the lifespan. A request that
    wrote, or whose token a promotion has made void, gets one: as a cookie (HttpOnly, SameSite=Lax, `secure`, for
    `max_age_s`) and as a header. The next request brings back either, the header counts. What was written after the
    response has started is not in it. A websocket is one session, which begins with the token and sends none.
    """

    def __init__(
        self,
        app: App,
        router: Found[AsyncRouter],
        *,
        cookie: str = "pgfleet",
        header: str = "x-pgfleet-token",
        secure: bool = True,
        max_age_s: int = 600,
    ) -> None:
        self._app = app
        self._router = router
        self._names = Names(cookie, header, secure=secure, max_age_s=max_age_s)
        self._seldom = Seldom()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one websocket; pass on everything else."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        with Opening(found(self._router), self._received(scope)) as opened:
            if scope["type"] == "http":
                send = _Response(opened, self._names, self._seldom, send).send
            await self._app(scope, receive, send)

    def _received(self, scope: Scope) -> str | None:
        headers = _values(scope, self._names.header.encode())
        return self._names.received(headers, _values(scope, b"cookie"))


class _Response:
    """The way back."""

    def __init__(self, opened: Opened[AsyncRouter], names: Names, seldom: Seldom, send: Send) -> None:
        self._opened = opened
        self._names = names
        self._seldom = seldom
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass on a part of the response, its head with the token."""
        if message["type"] == "http.response.start" and self._opened.has_news:
            message = {**message, "headers": [*message.get("headers", ()), *await self._headers()]}
        await self._send(message)

    async def _headers(self) -> list[tuple[bytes, bytes]]:
        """None when there is no token to be had: what was written is written, and the response tells it."""
        try:
            token = await self._token()
        except Exception as error:
            self._seldom.warn("A response takes no consistency token along: %s", error)
            return []
        return [(name.encode(), value.encode()) for name, value in self._names.sent(token)]

    async def _token(self) -> str:
        """The session's, also when the application responds from a task, or a session, of its own."""
        return await asyncio.create_task(self._opened.router.token(), context=self._opened.context)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope.get("headers", ()) if key == name]
