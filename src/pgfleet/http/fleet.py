"""A router of either face, asked from an event loop that must not stand still."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from anyio.to_thread import run_sync

from pgfleet.aio import AsyncReplicaRouter
from pgfleet.core.node import Reason
from pgfleet.core.report import Json
from pgfleet.core.topology import Topology
from pgfleet.faults import first_line
from pgfleet.router import ReplicaRouter
from pgfleet.runtimes import drive

T = TypeVar("T")
Router = AsyncReplicaRouter[Any] | ReplicaRouter[Any]
logger = logging.getLogger("pgfleet.http")

FRESH_S = 1.0
"""An answer rests on observations that are no older than this, however rarely the settings have nodes probed."""
ASK_TIMEOUT_S = 3.0


class Unanswered(Exception):
    """A node was asked and gave no answer. Its text is why."""


class Fleet:
    """What the endpoints know of the fleet. Raises RouterClosed while the router is not open."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self._finish: Callable[[Callable[[], Coroutine[Any, Any, T]]], Awaitable[T]] = (
            _in_thread if isinstance(router, ReplicaRouter) else _as_task
        )

    async def topology(self, older_than_s: float = FRESH_S) -> Topology:
        """What is believed of the nodes; those last looked at longer ago than this are looked at first."""
        return await self._finish(lambda: self._look(older_than_s))

    async def ask(self, name: str, sql: str) -> Json:
        """The JSON object that a statement of ours gives on this node. Raises Unanswered."""
        if silent := await self._silent(name):
            raise Unanswered(str(silent))
        try:
            ((text,),) = await asyncio.wait_for(
                self._finish(lambda: self.router.engine.fetch_from(name, sql)), ASK_TIMEOUT_S
            )
        except Exception as error:
            logger.warning("%s gave no answer to the monitoring API: %s", name, first_line(error))
            raise Unanswered(first_line(error)) from error
        answer: Json = json.loads(text)
        return answer

    def now_s(self) -> float:
        """This moment of the clock that observations are told by."""
        return self.router.engine.board.now_s()

    async def _silent(self, name: str) -> Reason | None:
        """Why it is of no use to ask this node; None: it has just answered a probe, so it does not stand still."""
        asked_s = self.now_s()
        topology = await self.topology(0.0)
        node = next((node for node in topology.nodes if node.name == name), None)
        if node is None:
            return Reason.NOT_PROBED  # it was removed meanwhile
        if node.trouble:
            return node.trouble.reason
        if node.observation is None:
            return Reason.NOT_PROBED if topology.use_replicas else Reason.REPLICAS_DISABLED
        return Reason.UNREACHABLE if node.observation.answered_s < asked_s else None

    async def _look(self, older_than_s: float) -> Topology:
        if self._is_old(older_than_s):
            await self.router.engine.refresh(older_than_s)
        return self.router.topology

    def _is_old(self, older_than_s: float) -> bool:
        """A node in trouble is looked at four times a second anyway: nobody waits for it here."""
        since_s = self.now_s() - older_than_s
        seen = [node.observation for node in self.router.topology.nodes if not node.trouble]
        return any(observation is None or observation.answered_s < since_s for observation in seen)


def timestamp() -> str:
    """Now, in UTC, to the millisecond: `2026-01-31T09:30:00.000Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _as_task(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return await work()


async def _in_thread(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The threaded face blocks: it does so in a thread of the pool, which is left alone when the caller gives up."""
    return await run_sync(lambda: drive(work()), abandon_on_cancel=True)
