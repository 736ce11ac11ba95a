"""Asking a cloud's API which servers there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic

from pgfleet.clouds.api import ApiT
from pgfleet.clouds.failure import ApiFailure
from pgfleet.core.membership import Found
from pgfleet.errors import DiscoveryError
from pgfleet.ports import Runtime

ANSWER_S = 10.0
"""Less than provisioning takes: the next look comes soon enough."""


class Asker(Generic[ApiT]):
    """Asks by one client, which is opened by the first question, and anew after a failure.

    A client keeps the credentials that it found; those that somebody has renewed meanwhile are found by the next.
    """

    def __init__(self, runtime: Runtime, cloud: str, open_api: Callable[[], ApiT]) -> None:
        self._runtime = runtime
        self._cloud = cloud
        self._open_api = open_api
        self._api: ApiT | None = None

    async def ask(self, look: Callable[[ApiT], Sequence[Found]], empty: DiscoveryError) -> Sequence[Found]:
        """What `look` finds, which blocks. Raises DiscoveryError when the cloud does not tell, `empty` for nothing."""
        try:
            found = await self._runtime.aside(lambda: self._look(look))
        except ApiFailure as failure:
            raise DiscoveryError(
                f"{self._cloud} tells no servers: {failure.message}", failure.hint
            ) from failure
        if not found:
            raise empty
        return found

    def _look(self, look: Callable[[ApiT], Sequence[Found]]) -> Sequence[Found]:
        api = self._api or self._open_api()
        self._api = None
        try:
            found = look(api)
        except ApiFailure:
            api.close()
            raise
        self._api = api
        return found
