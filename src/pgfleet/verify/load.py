"""Callers who read at a steady pace, and a note of each read: who answered, by the server's own word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from pgfleet.aio import AsyncReplicaRouter
from pgfleet.core.topology import Topology
from pgfleet.faults import first_line
from pgfleet.verify.figures import Read

Router = AsyncReplicaRouter[Any]

IDENTITY_SQL = """
select (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint::text,
       pg_catalog.pg_is_in_recovery()
"""
"""The life of the server that answers, which tells it from all others however it was reached, and its role."""
READ_TIMEOUT_S = 5.0
ANOTHER = "another server"


class Load:
    """The reads so far, in the order in which they ended."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.reads: list[Read] = []

    async def read(self) -> None:
        """Read once, and note what came of it."""
        began_s = monotonic()
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):  # not the router's: applications read without one
                ((life, on_replica),) = await self._router.fetch(IDENTITY_SQL)
        except Exception as error:
            said = f"{type(error).__name__}: {first_line(error)}"
            self.reads.append(Read(began_s, monotonic(), None, error=said))
        else:
            node = owner(self._router.topology, life, on_replica)
            self.reads.append(Read(began_s, monotonic(), node, on_replica))

    @asynccontextmanager
    async def running(self, callers: int, per_s: float) -> AsyncIterator[Load]:
        """Let the callers read until the block ends, so many times a second together."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._caller(callers / per_s, n / per_s, stop)) for n in range(callers)]
        try:
            yield self
        finally:
            stop.set()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _caller(self, pace_s: float, offset_s: float, stop: asyncio.Event) -> None:
        due_s = monotonic() + offset_s
        while not stop.is_set():
            await asyncio.sleep(due_s - monotonic())
            await self.read()
            due_s = max(
                due_s + pace_s, monotonic()
            )  # nobody makes up for it: a fleet at its limit is left alone


def owner(topology: Topology, life: str, on_replica: bool) -> str:
    """The node whose server lives this life."""
    for node in topology.nodes:
        if node.observation and life in (node.observation.incarnation, *node.lives):
            return node.name
    shared = [node.name for node in topology.nodes if node.is_shared and on_replica]
    return shared[0] if shared else ANOTHER
