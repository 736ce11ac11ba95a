"""A token as a cookie and as a header: what ASGI and WSGI have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

LONGEST_TOKEN: Final = 64
"""Characters. A process that runs another release may write another length than ours."""

_TOKEN: Final = f"[A-Za-z0-9_-]{{1,{LONGEST_TOKEN}}}"
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")


class Names:
    """How the token is called on its way to a browser and back.

    Raises ValueError for a name that fits into no header, and for a `max_age_s` that is no whole number above 0.
    """

    def __init__(self, cookie: str, header: str, *, secure: bool, max_age_s: int) -> None:
        for name in (cookie, header):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot be the name of a cookie or a header: write for example 'pgfleet'"
                )
        if type(max_age_s) is not int or max_age_s < 1:
            raise ValueError(f"max_age_s must be a whole number of seconds above 0, not {max_age_s!r}")
        self._cookie = cookie
        self._attributes = f"Max-Age={max_age_s}; Path=/; HttpOnly; SameSite=Lax" + (
            "; Secure" if secure else ""
        )
        self._in_cookies = re.compile(rf"(?:^|[;,])[ \t]*+{re.escape(cookie)}=({_TOKEN})[ \t]*+(?=[;,]|\Z)")
        self.header = header.lower()

    def received(self, headers: Iterable[str], cookies: Iterable[str]) -> str | None:
        """The token that came with a request: the header's, else the cookie's; None when there is nothing like one.

        Whether it is one of ours, the router finds out.
        """
        for value in headers:
            if re.fullmatch(_TOKEN, value):
                return value
        return next((match[1] for value in cookies if (match := self._in_cookies.search(value))), None)

    def sent(self, token: str) -> tuple[tuple[str, str], tuple[str, str]]:
        """The headers that a response takes it along in."""
        return ("set-cookie", f"{self._cookie}={token}; {self._attributes}"), (self.header, token)
