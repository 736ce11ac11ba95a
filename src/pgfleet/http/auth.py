"""Who may read the JSON endpoints: whoever sends the one token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import EllipsisType
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from pgfleet.errors import ConfigurationError
from pgfleet.settings import Secret, Settings
from pgfleet.settings.kinds import TOKEN

Auth = Secret | str | EllipsisType | None
"""A token, `...` for the one of the settings, or None for none at all."""

NEEDED = "a bearer token is needed: send the header Authorization: Bearer <PGFLEET_API_TOKEN>"

_scheme = HTTPBearer(auto_error=False, description="The token in PGFLEET_API_TOKEN.")


def token_of(auth: Auth, settings: Settings) -> Secret | None:
    """The token to ask for; None when the caller says that everybody may read. Raises ConfigurationError."""
    token = settings.api_token if auth is ... else auth
    if token is None and auth is ...:
        raise ConfigurationError(
            ("PGFLEET_API_TOKEN: is not set, and the monitoring API shows the fleet to whoever reaches it",),
            "Set PGFLEET_API_TOKEN (`openssl rand -hex 32` prints one), or say auth=None if something else guards it.",
        )
    token = Secret(token) if isinstance(token, str) else token
    if complaint := TOKEN.complaint(token):
        raise ConfigurationError((f"auth: {complaint}",))
    return token


def bearer(token: Secret) -> Callable[[HTTPAuthorizationCredentials | None], Awaitable[None]]:
    """The check of one request. Whatever else its header holds, it is 401."""

    async def check(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)]) -> None:
        if sent is None or Secret(sent.credentials) != token:
            raise HTTPException(401, NEEDED, {"WWW-Authenticate": "Bearer"})

    return check
