"""The Cloud SQL Admin API of one project, over google-auth's session. It blocks; threads may share it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import google.auth
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from requests import RequestException, Response

from pgfleet.clouds.failure import ApiFailure
from pgfleet.clouds.google_failures import is_transient, refused, told_in, unanswered, unknown_identity

SQL = "https://sqladmin.googleapis.com"
COMPUTE = "https://compute.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL"
"""gcloud's own variable for another address of this API."""
CONNECT_S = 5
ANSWER_S = 30.0
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Before each further attempt at a call that was throttled, or lost on its way."""
_SESSION: Any = AuthorizedSession
"""It has no types."""
WRITE = "Write https://... as the endpoint."
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class SqlAdmin:
    """One project, asked with the credentials that google-auth finds where it always looks."""

    def __init__(
        self,
        project: str,
        environ: Mapping[str, str],
        *,
        endpoint: str = "",
        pauses_s: Sequence[float] = PAUSES_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        address = (endpoint or environ.get(OVERRIDE, "")).rstrip("/")
        _must_be_private(address)
        self.project = project
        self._sql = address or SQL
        self._compute = address or COMPUTE
        self._pauses_s = pauses_s
        self._timeout_s = (CONNECT_S, answer_s)
        self._lock = threading.Lock()
        try:
            credentials, _ = google.auth.default(scopes=SCOPES)
        except (GoogleAuthError, OSError) as error:  # or a key file that may not be read
            raise unknown_identity(error) from error
        self._session = _SESSION(credentials)

    def call(self, method: str, path: str, body: object = None, **query: str) -> dict[str, Any]:
        """What `/v1/projects/<project>/<path>` answers. Raises ApiFailure.

        A call that was lost may have been done: the second is refused then, and its caller looks.
        """
        return self._answer(method, f"{self._sql}/v1/projects/{quote(self.project)}/{path}", body, query)

    def listed(self, path: str) -> list[dict[str, Any]]:
        """The items of all pages. Raises ApiFailure."""
        items: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self.call("GET", path, **({"pageToken": token} if token else {}))
            items += page.get("items") or ()
            token = page.get("nextPageToken", "")
            if not token:
                return items

    def has_zone(self, zone: str) -> bool | None:
        """Whether Compute Engine has this zone; None: it does not tell those who ask."""
        url = f"{self._compute}/compute/v1/projects/{quote(self.project)}/zones/{quote(zone)}"
        try:
            self._answer("GET", url, None, {})
        except ApiFailure as failure:
            return False if failure.code == "notFound" else None
        return True

    def close(self) -> None:
        """End its connections."""
        self._session.close()

    def _answer(self, method: str, url: str, body: object, query: Mapping[str, str]) -> dict[str, Any]:
        for pause_s in (*self._pauses_s, None):
            try:
                return self._once(method, url, body, query)
            except ApiFailure as failure:
                if pause_s is None or not is_transient(failure):
                    raise
                time.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, method: str, url: str, body: object, query: Mapping[str, str]) -> dict[str, Any]:
        try:
            with self._lock:
                answer: Response = self._session.request(
                    method, url, json=body, params=query, timeout=self._timeout_s, allow_redirects=False
                )
        except GoogleAuthError as error:
            raise unknown_identity(error) from error
        except RequestException as error:
            raise unanswered(error) from error
        if answer.status_code != 200:
            raise refused(answer.status_code, answer.text)
        return told_in(answer.text)


def _must_be_private(address: str) -> None:
    """Raises ApiFailure for an address to which a token would travel in clear."""
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise ApiFailure(f"the endpoint {address} is no address: {error}", WRITE) from error
    if address and parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ApiFailure(f"{address} is no https address", f"A token would travel in clear. {WRITE}")
