"""Virtual time: an event loop whose clock moves only when every task waits for it, and a router that lives on it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import partial
from math import ulp
from random import Random
from typing import Any, TypeVar

from pgfleet.aio import AsyncReplicaRouter
from pgfleet.assembly import Connect
from pgfleet.engine import Engine
from pgfleet.ports import Runtime, Timer
from pgfleet.runtimes import TaskRuntime
from pgfleet.settings import Settings

C = TypeVar("C")
T = TypeVar("T")

LONGEST_TEST_S = 3600.0
MOST_TURNS = 100_000
"""Of the loop, without time passing: beyond, somebody runs in a circle."""


class _VirtualSelector(selectors.SelectSelector):
    """Instead of waiting, says that the time has passed."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._virtual = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        self._virtual.shuffle()
        ready = super().select(0)
        self._turns = 0 if timeout else self._turns + 1
        assert self._turns < MOST_TURNS, "a task runs in a circle"
        if not ready:
            assert timeout is not None, "every task waits for something that never comes"
            self._virtual.advance(timeout)
            assert self._virtual.now_s < VirtualLoop.BEGIN_S + LONGEST_TEST_S, "this test does not end"
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock moves only when every task waits for it, and then at once.

    With a `seed`, callbacks that are ready at the same moment run in an order of that seed's: always the same one, and
    another one with another seed.
    """

    BEGIN_S = 1000.0

    def __init__(self, seed: int | None = None) -> None:
        self.now_s = self.BEGIN_S
        self._order = None if seed is None else Random(seed)  # noqa: S311 (an order, not a secret)
        super().__init__(_VirtualSelector(self))
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Move the clock. No timer is early, be it by a picosecond.

        Whoever waits for a deadline would find it ahead still, and wait again, for ever. A real loop may make calls a
        nanosecond early: its clock goes on by itself.
        """
        self.now_s += seconds
        self._clock_resolution = ulp(self.now_s)  # what is due at this very moment is due

    def time(self) -> float:
        """The virtual clock, in seconds."""
        return self.now_s

    def shuffle(self) -> None:
        """Put what is ready into another order. `_ready` is asyncio's own; a test holds each Python to it."""
        ready = self._ready  # type: ignore[attr-defined]
        if self._order and len(ready) > 1:
            self._order.shuffle(ready)


def run(main: Coroutine[Any, Any, T], seed: int | None = None) -> T:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=partial(VirtualLoop, seed)) as runner:
        return runner.run(main)


async def settle() -> None:
    """Let every task run until it waits for time to pass."""
    for _ in range(20):
        await asyncio.sleep(0)


async def pass_time(seconds: float) -> None:
    """Let this much virtual time pass."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_later(seconds, finish, passed)
    await passed


def finish(waiting: asyncio.Future[None]) -> None:
    """Wake whoever waits, unless it has gone."""
    if not waiting.done():
        waiting.set_result(None)


class VirtualRuntime(TaskRuntime):
    """The runtime of tasks on a virtual loop: all of it is real but the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = self._loop.time

    def _call_beside(self, delay_s: float, call: Callable[[], None]) -> Timer:
        return self._loop.call_later(delay_s, call)

    async def aside(self, call: Callable[[], T]) -> T:
        """At once: a thread would know nothing of virtual time."""
        return call()


class VirtualRouter(AsyncReplicaRouter[C]):
    """The asynchronous face over any connector, in virtual time."""

    _connectors = {"psycopg": lambda: None}  # type: ignore[dict-item,return-value]  # noqa: RUF012

    def __init__(self, settings: Settings, connect: Connect[C]) -> None:
        super().__init__(settings)
        self._connect = connect

    def _assemble(self, runtime: Runtime) -> Engine[C]:
        return super()._assemble(VirtualRuntime())
