"""Tasks and threads: the two ways to run the same coroutines.

Among threads nothing ever suspends: every port blocks instead, so `drive` finishes a coroutine in one step.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar

from pgfleet.ports import Rival
from pgfleet.races import TaskRace, TaskRaces, ThreadRace

T = TypeVar("T")
logger = logging.getLogger("pgfleet")


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and return what it returns."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("a blocking port suspended: an asynchronous adapter was given to the threaded face")


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
        self._races = TaskRaces(self._loop, partial(self._begin, name="hedge"))

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

    def race(self, first: Coroutine[Any, Any, T], delay_s: float, rival: Rival[T]) -> TaskRace[T]:
        """Run `first` in the caller's own turn, and a rival task beside it if it takes longer than `delay_s`."""
        return TaskRace(self._races, first, delay_s, rival)

    async def aside(self, call: Callable[[], T]) -> T:
        """What a blocking call returns, made in a thread."""
        return await asyncio.to_thread(call)

    async def close(self, timeout_s: float) -> None:
        """Wait for the tasks, and cancel what is left after `timeout_s`."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)


class ThreadSignal:
    """A signal among threads."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set

    async def wait(self, timeout_s: float) -> bool:
        """Whether it was set within `timeout_s`. Blocks."""
        return self._event.wait(timeout_s)


class _Due:
    """A call of the watchdog: made, or cancelled, but never under way once `cancel` has returned."""

    __slots__ = ("_call", "_lock")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Forget the call, if it has not happened; wait for it, if it is happening."""
        with self._lock:
            self._call = None

    def happen(self) -> None:
        """Make the call, unless it was cancelled."""
        with self._lock:
            call, self._call = self._call, None
            if call:
                call()


class Watchdog:
    """A thread that makes short calls when they are due. It starts with the first of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, _Due]] = []
        self._serial = count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def call_later(self, delay_s: float, call: Callable[[], None]) -> _Due:
        """Make a call in `delay_s` seconds."""
        due = _Due(call)
        with self._changed:
            entry = (time.monotonic() + delay_s, next(self._serial), due)
            heappush(self._due, entry)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="pgfleet watchdog", daemon=True)
                self._thread.start()
            if self._due[0] is entry:
                self._changed.notify()
        return due

    def close(self) -> None:
        """Make no further call, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while due := self._next():
            try:
                due.happen()
            except Exception:  # the next call must still be made
                logger.exception("a call of the watchdog failed")

    def _next(self) -> _Due | None:
        with self._changed:
            while not self._closed:
                wait_s = self._due[0][0] - time.monotonic() if self._due else None
                if wait_s is not None and wait_s <= 0:
                    return heappop(self._due)[2]
                self._changed.wait(wait_s)
        return None


class _Worker(threading.Thread):
    def cancel(self) -> None:
        """Nothing: a thread cannot be cancelled."""


class ThreadRuntime:
    """Threads that share their state under locks."""

    def __init__(self) -> None:
        self._threads: list[_Worker] = []
        self._threads_lock = threading.Lock()
        self._watchdog = Watchdog()
        self.clock = time.monotonic

    def lock(self) -> AbstractContextManager[Any]:
        """A new lock that its holder may take again."""
        return threading.RLock()

    def signal(self) -> ThreadSignal:
        """A new signal."""
        return ThreadSignal()

    def call_later(self, delay_s: float, call: Callable[[], None]) -> _Due:
        """Run a short call in `delay_s` seconds, on the watchdog's thread."""
        return self._watchdog.call_later(delay_s, call)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> _Worker:
        """Run `work` in a thread that does not keep the process alive."""
        thread = _Worker(target=drive, args=(work,), name=f"pgfleet {name}", daemon=True)
        thread.start()
        with self._threads_lock:
            self._threads = [*(other for other in self._threads if other.is_alive()), thread]
        return thread

    def race(self, first: Coroutine[Any, Any, T], delay_s: float, rival: Rival[T]) -> ThreadRace[T]:
        """Run `first` in the caller's own turn, and a rival thread beside it if it takes longer than `delay_s`."""
        return ThreadRace(first, rival, partial(self.call_later, delay_s), self.spawn)

    async def aside(self, call: Callable[[], T]) -> T:
        """What a blocking call returns. Whoever was spawned has a thread of his own already."""
        return call()

    async def close(self, timeout_s: float) -> None:
        """Wait for the threads, at most `timeout_s` for all of them."""
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        self._watchdog.close()
