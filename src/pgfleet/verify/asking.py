"""Asking an HTTP server for JSON: the monitoring API, and Prometheus.

`http.client` and nothing above it: no redirect takes a token elsewhere, and no proxy of the environment is asked.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, unquote, urlsplit

from pgfleet.errors import ConfigurationError
from pgfleet.faults import first_line
from pgfleet.settings import Secret
from pgfleet.verify.figures import Answer

TIMEOUT_S = 3.0
"""To connect, and again for each part of the answer."""
MOST_BYTES = 4_000_000
SCHEMES = {"http": 80, "https": 443}


class Site:
    """A server by its URL. Its `str` is where it is, without who asks. Raises ConfigurationError for no URL of HTTP.

    `token`: a bearer token, or `user:password`: no bearer token holds a colon.
    """

    def __init__(self, url: str, token: Secret | None = None, option: str = "--url") -> None:
        try:
            self._parts = parts = urlsplit(url.strip())
            self._port = parts.port or SCHEMES[parts.scheme]
            self._host = parts.hostname or ""
            if not self._host or parts.query or parts.fragment:
                raise ValueError
        except (ValueError, KeyError):
            raise ConfigurationError(
                (f"{option}: is no URL such as http://127.0.0.1:4000",),
                "Write http:// or https://, host and port.",
            ) from None
        self._token = token

    def __str__(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._parts.scheme}://{host}:{self._port}{self._parts.path.rstrip('/')}"

    async def get(self, path: str, *, as_nobody: bool = False) -> Answer:
        """What it says. `as_nobody`: without a token."""
        return await asyncio.to_thread(self._get, path, {} if as_nobody else self._headers())

    def _get(self, path: str, headers: dict[str, str]) -> Answer:
        connection = self._connection()
        try:
            connection.request("GET", self._parts.path.rstrip("/") + path, headers=headers)
            answer = connection.getresponse()
            return read_answer(answer.status, answer.read(MOST_BYTES + 1), answer.getheader("Location"))
        except (OSError, HTTPException, ValueError) as error:
            return Answer(None, complaint=f"no answer: {first_line(error)}")
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        said = self._token.reveal() if self._token else _user(self._parts)
        if ":" in said:
            return {"Authorization": f"Basic {b64encode(said.encode()).decode()}"}
        return {"Authorization": f"Bearer {said}"} if said else {}

    def _connection(self) -> HTTPConnection:
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=context)
        return HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)


def read_answer(status: int, body: bytes, location: str | None = None) -> Answer:
    """An answer with its JSON, or with why it has none. Where it fails, its status says why."""
    if len(body) > MOST_BYTES:
        return Answer(status, complaint=f"answers more than {MOST_BYTES:,} bytes")
    if location:
        return Answer(status, complaint=f"answers {status}, a redirect: give the URL that it leads to")
    try:
        return Answer(status, json.loads(body))
    except (ValueError, RecursionError):
        return Answer(status, complaint="answers no JSON" if status == 200 else f"answers {status}")


def _user(parts: SplitResult) -> str:
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
