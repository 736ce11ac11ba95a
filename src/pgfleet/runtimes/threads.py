"""Threads: nothing ever suspends, since every port blocks instead; `drive` finishes a coroutine in one step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

from pgfleet.ports import Rival
from pgfleet.runtimes.thread_race import ThreadRace
from pgfleet.runtimes.watchdog import Watchdog, _Due

T = TypeVar("T")


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and return what it returns."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("a blocking port suspended: an asynchronous adapter was given to the threaded face")


class ThreadSignal:
    """A signal among threads."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set

    async def wait(self, timeout_s: float) -> bool:
        """Whether it was set within `timeout_s`. Blocks."""
        return self._event.wait(timeout_s)


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
        """Run `work` in a thread that does not keep the process alive. Raises RuntimeError when there is none left."""
        thread = _Worker(target=drive, args=(work,), name=f"pgfleet {name}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            work.close()
            raise
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
