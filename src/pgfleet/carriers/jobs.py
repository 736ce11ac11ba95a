"""A token among the headers of a job, whatever queue takes it from one process to another.

headers = token_headers(await router.token())          # where the job is sent
with router.session(after=token_of(headers)): ...      # where it is done
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

HEADER: Final = "x-pgfleet-token"


def token_headers(token: str | None) -> dict[str, str]:
    """The headers to send along with a job; none without a token."""
    return {HEADER: token} if token else {}


def token_of(headers: Mapping[str, object] | None) -> str | None:
    """The token among the headers of a job, text or bytes; None: there is none. Never raises."""
    value = headers.get(HEADER) if headers else None
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value if isinstance(value, str) and value else None
