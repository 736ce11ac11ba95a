"""The two faces of the router behind one shape: on that for threads nothing suspends, so the same clients use both."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from pgfleet.drill.clients import row_in_lease, row_in_plain_lease
from pgfleet.drill.consistency.elsewhere import Elsewhere


class Face(Protocol):
    """An open router."""

    async def row(self, sql: str, *args: Any, **options: Any) -> Any:
        """The first row of a read."""

    async def write(self, org: int, sql: str, *args: Any) -> Any:
        """The first row of a write of this org."""

    async def token(self, org: int) -> str:
        """A token that covers what this org wrote."""

    def session(self) -> AbstractContextManager[Any]:
        """A session of this client's."""

    async def elsewhere(self, other: Elsewhere, sql: str, key: int, token: str) -> Any:
        """The first row of a read after this token, in the other process."""

    async def pause(self, seconds: float) -> None:
        """Do nothing for a while."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """`AsyncReplicaRouter`."""

    raw: Any

    async def row(self, sql: str, *args: Any, **options: Any) -> Any:
        """As the protocol says."""
        return (await self.raw.fetch(sql, *args, **options))[0]

    async def write(self, org: int, sql: str, *args: Any) -> Any:
        """As the protocol says."""
        return await row_in_lease(self.raw.write(org_id=org), sql, args)

    async def token(self, org: int) -> str:
        """As the protocol says."""
        token: str = await self.raw.token(org_id=org)
        return token

    def session(self) -> AbstractContextManager[Any]:
        """As the protocol says."""
        session: AbstractContextManager[Any] = self.raw.session()
        return session

    async def elsewhere(self, other: Elsewhere, sql: str, key: int, token: str) -> Any:
        """As the protocol says."""
        return await asyncio.wrap_future(other.read(sql, key, token))

    async def pause(self, seconds: float) -> None:
        """As the protocol says."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Threads:
    """`ReplicaRouter`: every call blocks, and none suspends."""

    raw: Any

    async def row(self, sql: str, *args: Any, **options: Any) -> Any:
        """As the protocol says."""
        return self.raw.fetch(sql, *args, **options)[0]

    async def write(self, org: int, sql: str, *args: Any) -> Any:
        """As the protocol says."""
        return row_in_plain_lease(self.raw.write(org_id=org), sql, args)

    async def token(self, org: int) -> str:
        """As the protocol says."""
        token: str = self.raw.token(org_id=org)
        return token

    def session(self) -> AbstractContextManager[Any]:
        """As the protocol says."""
        session: AbstractContextManager[Any] = self.raw.session()
        return session

    async def elsewhere(self, other: Elsewhere, sql: str, key: int, token: str) -> Any:
        """As the protocol says."""
        return other.read(sql, key, token).result()

    async def pause(self, seconds: float) -> None:
        """As the protocol says."""
        time.sleep(seconds)  # noqa: ASYNC251 (on this face everything blocks)
