"""Patroni: `GET /cluster` of any of its members tells them all.

`http.client` and nothing above it: no redirect takes the password elsewhere, and no proxy of the environment is asked
for a server next door.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, unquote, urlsplit

from pgfleet.chance import CHANCE
from pgfleet.core.membership import Found
from pgfleet.discovery.members import read_cluster
from pgfleet.errors import DiscoveryError
from pgfleet.ports import Runtime

TIMEOUT_S = 2.0
"""For one member to connect, and again to answer: the others are asked after it."""
MOST_BYTES = 1_000_000
DEFAULT_PORT = 8008


class Patroni:
    """`patroni:http://10.0.0.1:8008,http://10.0.0.2:8008`: any members, of whom the first that answers tells the rest.

    The last that answered is asked first; which is the first of all is drawn, so that many processes share them.
    `https` trusts what the system trusts, and what the variable SSL_CERT_FILE names.
    """

    interval_s = 5.0

    def __init__(self, address: str, runtime: Runtime) -> None:
        self._runtime = runtime
        self._members = [Member(url.strip()) for url in address.split(",") if url.strip()]
        CHANCE.shuffle(self._members)

    async def find(self) -> Sequence[Found]:
        """Every member. Raises DiscoveryError, which names each URL and what it said, when none of them can tell."""
        return await self._runtime.aside(self._ask_each)

    def _ask_each(self) -> Sequence[Found]:
        complaints = []
        for member in tuple(self._members):
            try:
                found = read_cluster(member.cluster())
            except (OSError, HTTPException, ValueError) as error:
                complaints.append(f"{member}: {str(error) or type(error).__name__}")
            else:
                self._members.sort(key=lambda other: other is not member)
                return found
        raise DiscoveryError(
            f"no Patroni tells its members: {'; '.join(complaints)}",
            "Check the URLs in PGFLEET_DISCOVERY: `curl <url>/cluster` must answer.",
        )


class Member:
    """One REST API. Its `str` is where it is, without who asks."""

    def __init__(self, url: str) -> None:
        self._parts = parts = urlsplit(url)
        self._port = parts.port or DEFAULT_PORT
        self._headers = {"Authorization": _basic(parts)} if parts.username else {}

    def cluster(self) -> bytes:
        """The body of its `/cluster`. Raises OSError or HTTPException when there is no answer, ValueError when bad."""
        connection = self._connection()
        try:
            connection.request("GET", f"{self._parts.path.rstrip('/')}/cluster", headers=self._headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise ValueError(f"answers {answer.status} {answer.reason}")
            return answer.read(MOST_BYTES)
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        host = self._parts.hostname or ""
        if self._parts.scheme == "https":
            return HTTPSConnection(host, self._port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        return HTTPConnection(host, self._port, timeout=TIMEOUT_S)

    def __str__(self) -> str:
        host = self._parts.hostname or ""
        return f"{self._parts.scheme}://{f'[{host}]' if ':' in host else host}:{self._port}"


def _basic(parts: SplitResult) -> str:
    said = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Basic {b64encode(said.encode()).decode()}"
