"""Tasks: one event loop, where nobody is interrupted between two awaits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any, TypeVar

from pgfleet.ports import Rival, Timer
from pgfleet.runtimes.task_races import TaskRace, TaskRaces
from pgfleet.runtimes.watchdog import Watchdog

T = TypeVar("T")


class TaskSignal:
    """A signal among the tasks of one event loop, for one of them to wait for, as often as it likes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake whoever waits, now or later."""
        self._is_set = True
        _wake(self._waiter)

    async def wait(self, timeout_s: float) -> bool:
        """Whether it was set within `timeout_s`."""
        if self._is_set:
            return True
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout_s, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
        return self._is_set


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter and not waiter.done():
        waiter.set_result(None)


class TaskRuntime:
    """One event loop: its tasks need no locks among themselves."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.clock = time.monotonic
        self._no_lock: AbstractContextManager[None] = nullcontext()
        self._watchdog = Watchdog()
        self._races = TaskRaces(self._loop, partial(self._begin, name="hedge"), self._call_beside)

    def lock(self) -> AbstractContextManager[Any]:
        """Nothing: no task is interrupted between two awaits."""
        return self._no_lock

    def signal(self) -> TaskSignal:
        """A new signal."""
        return TaskSignal(self._loop)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Run a short call in `delay_s` seconds."""
        return self._loop.call_later(delay_s, call)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task."""
        return self._begin(work, name)

    def _begin(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = self._loop.create_task(work, name=f"pgfleet {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _call_beside(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """A call in the loop, by a timer that is not the loop's."""
        return self._watchdog.call_later(delay_s, partial(self._post, call))

    def _post(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(call)

    def race(self, first: Coroutine[Any, Any, T], delay_s: float, rival: Rival[T]) -> TaskRace[T]:
        """Run `first` in the caller's own turn, and a rival task beside it if it takes longer than `delay_s`."""
        return TaskRace(self._races, first, delay_s, rival)

    async def aside(self, call: Callable[[], T]) -> T:
        """What a blocking call returns, made in a thread."""
        return await asyncio.to_thread(call)

    async def close(self, timeout_s: float) -> None:
        """Wait for the tasks, and cancel what is left after `timeout_s`."""
        self._watchdog.close()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
