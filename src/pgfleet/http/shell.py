"""What every request passes through, whatever it asks for."""

from __future__ import annotations

import logging
from ipaddress import ip_address

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("pgfleet.http")

LONGEST_QUERY_BYTES = 2048


class Shell:
    """HEAD as GET without the body, no caching, no endless query, and no insight into what went wrong inside."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send, without_body=scope["method"] == "HEAD")
        if len(scope["query_string"]) > LONGEST_QUERY_BYTES:
            problem = JSONResponse({"detail": f"the query is longer than {LONGEST_QUERY_BYTES} bytes"}, 414)
            await problem(scope, receive, response.send)
            return
        method = "GET" if response.without_body else scope["method"]
        try:
            await self._app({**scope, "method": method}, receive, response.send)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if response.has_started:
                raise
            await JSONResponse({"detail": "internal error"}, 500)(scope, receive, response.send)


class _Response:
    """The way back."""

    def __init__(self, send: Send, *, without_body: bool) -> None:
        self._send = send
        self.without_body = without_body
        self.has_started = False

    async def send(self, message: Message) -> None:
        """Pass on a part of the response."""
        if message["type"] == "http.response.start":
            self.has_started = True
            MutableHeaders(scope=message).setdefault("cache-control", "no-store")
        elif self.without_body:
            message = {**message, "body": b""}
        await self._send(message)


class LoopbackHosts:
    """Answers only requests that name this machine as loopback.

    A page of another site can make a browser resolve its own name to 127.0.0.1 and read what answers there. A server
    without a token is safe from it if it does not go by such names. Programs that send no Host are no browsers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it with 421."""
        host = Headers(scope=scope).get("host") if scope["type"] == "http" else None
        if host is None or is_loopback(_without_port(host)):
            await self._app(scope, receive, send)
        else:
            detail = "without a token this service answers to localhost, 127.0.0.1 and [::1] alone"
            await JSONResponse({"detail": detail}, 421)(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether a host, by the name or the address itself, can only be this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
