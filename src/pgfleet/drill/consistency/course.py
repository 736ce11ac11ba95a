"""The course of a run: clients at work on a fleet, and the nemesis with them, until it is enough."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from random import Random
from secrets import token_urlsafe
from time import monotonic
from typing import Any

from pgfleet.aio import AsyncReplicaRouter
from pgfleet.drill import fleets
from pgfleet.drill.consistency import tables
from pgfleet.drill.consistency.clients import Client, Org, World
from pgfleet.drill.consistency.elsewhere import elsewhere
from pgfleet.drill.consistency.faces import Face, Tasks, Threads
from pgfleet.drill.consistency.history import History
from pgfleet.drill.consistency.nemesis import Nemesis
from pgfleet.drill.consistency.recorder import Failures, Recorder
from pgfleet.drill.hand import Hand
from pgfleet.drill.stage import Tell
from pgfleet.local import LocalFleet
from pgfleet.router import ReplicaRouter
from pgfleet.runtimes import drive
from pgfleet.settings import Settings

SECONDS = 60.0
TELL_EVERY_S = 10.0
FINISH_S = 40.0
"""How long the last calls have to finish: longer than a caller waits for a connection."""


class Commits(StrEnum):
    """Whether a writer waits until its commit is flushed."""

    BOTH = "both"
    """Every second writer does."""
    SYNCHRONOUS = "synchronous"
    ASYNCHRONOUS = "asynchronous"
    """None does: `synchronous_commit = off`."""


@dataclass(frozen=True, slots=True)
class Options:
    """How it is run."""

    seconds: float | None = None
    operations: int | None = None
    """It ends when either is reached; with neither, after `SECONDS`."""
    seed: int = 0
    clients: int = 16
    driver: str = "psycopg"
    threads: bool = False
    commits: Commits = Commits.BOTH

    @property
    def lasts_s(self) -> float:
        """At most so long."""
        if self.seconds is None:
            return SECONDS if self.operations is None else inf
        return self.seconds


@dataclass(frozen=True, slots=True)
class Course:
    """What was recorded of a run."""

    history: History
    nemesis: Nemesis
    first: str
    seconds: float
    failures: tuple[Failures, ...]


async def live(options: Options, fleet: LocalFleet, hand: Hand, orgs: tuple[Org, ...], tell: Tell) -> Course:
    """Let it be, and leave the fleet whole. Raises LocalFleetError."""
    recorder, first = Recorder(), fleet.primary
    environ = fleet.environ(plain=True) | {"PGFLEET_TOKEN_SECRET": token_urlsafe(32)}
    nemesis = Nemesis(fleet.names, first, hand, Random(options.seed), tell)  # noqa: S311
    with elsewhere(environ) as other:
        async with _opened(options, Settings.from_env(environ)) as face:
            end = _End(options, recorder, monotonic())
            world = World(
                face=face,
                statements=tables.statements(options.driver),
                names={fleet.node(name).port: name for name in fleet.names},
                orgs=orgs,
                recorder=recorder,
                is_enough=end.is_here,
                elsewhere=other,
            )
            await _Work(_clients(options, world), nemesis, end, fleet, tell).do(options.threads)
            seconds = monotonic() - end.began_s
    return Course(recorder.history, nemesis, first, seconds, recorder.failures)


@asynccontextmanager
async def _opened(options: Options, settings: Settings) -> AsyncIterator[Face]:
    if not options.threads:
        router: AsyncReplicaRouter[Any] = AsyncReplicaRouter(settings, options.driver)
        async with router:
            yield Tasks(router)
        return
    blocking: ReplicaRouter[Any] = ReplicaRouter(settings, options.driver)
    try:
        yield Threads(await asyncio.to_thread(blocking.open))
    finally:
        await asyncio.to_thread(blocking.close)


def _clients(options: Options, world: World) -> list[Client]:
    """A writer for each org, and readers."""
    rng = Random(options.seed)  # noqa: S311 (no secret)
    writers = [Client(org.number, world, Random(rng.random()), org) for org in world.orgs]  # noqa: S311
    readers = range(len(writers) + 1, max(options.clients, len(writers) + 1) + 1)
    return [*writers, *(Client(number, world, Random(rng.random())) for number in readers)]  # noqa: S311


@dataclass
class _End:
    """When it is enough."""

    options: Options
    recorder: Recorder
    began_s: float
    is_called: bool = False

    def is_here(self) -> bool:
        """Asked before each call."""
        most = self.options.operations
        is_much = most is not None and len(self.recorder.history) >= most
        return self.is_called or is_much or monotonic() - self.began_s >= self.options.lasts_s


@dataclass
class _Work:
    """Everybody at work."""

    clients: Sequence[Client]
    nemesis: Nemesis
    end: _End
    fleet: LocalFleet
    tell: Tell

    async def do(self, threads: bool) -> None:
        """Until it is enough; whatever goes wrong with one of them ends all."""
        executor = ThreadPoolExecutor(len(self.clients), "client") if threads else None
        clients = [self._begin(client, executor) for client in self.clients]
        others = [asyncio.ensure_future(self.nemesis.work(self.end.is_here)), self._begin_telling()]
        try:
            await self._until_enough([*clients, others[0]])
        finally:
            self.end.is_called = True
            others[1].cancel()
            self.tell("everything is made whole again")
            await asyncio.to_thread(fleets.mend, self.fleet)
            await _finish(clients)
            if executor:
                executor.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _begin(client: Client, executor: ThreadPoolExecutor | None) -> asyncio.Future[None]:
        if executor is None:
            return asyncio.ensure_future(client.work())
        return asyncio.get_running_loop().run_in_executor(executor, lambda: drive(client.work()))

    def _begin_telling(self) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._tell_all_the_time())

    async def _tell_all_the_time(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            self.tell(f"{len(self.end.recorder.history):,} operations")

    @staticmethod
    async def _until_enough(at_work: Sequence[asyncio.Future[None]]) -> None:
        """Until the nemesis, the last of them, has ended, or somebody has failed."""
        while not at_work[-1].done():
            done, _ = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED, timeout=1.0)
            for one in done:
                one.result()


async def _finish(clients: Sequence[asyncio.Future[None]]) -> None:
    _, hanging = await asyncio.wait(clients, timeout=FINISH_S)
    for client in hanging:
        client.cancel()
    await asyncio.gather(*clients)
