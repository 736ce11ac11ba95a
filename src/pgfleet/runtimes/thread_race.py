"""A race of two attempts at one answer among threads, the second begun only when the first is late."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from pgfleet.ports import Rival, Timer

T = TypeVar("T")
logger = logging.getLogger("pgfleet")


class ThreadRace(Generic[T]):
    """A race among threads: the first blocks its caller's, so to end it is to cut its connection."""

    def __init__(
        self,
        first: Coroutine[Any, Any, T],
        rival: Rival[T],
        later: Callable[[Callable[[], None]], Timer],
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        self._first = first
        self._rival = rival
        self._later = later
        self._spawn = spawn
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._began = False
        self._first_ended = False
        self._answer: T
        self.by_second = False
        self.first_error: Exception | None = None

    def __await__(self) -> Generator[Any, None, T]:
        """Run it."""
        return self._run().__await__()

    async def _run(self) -> T:
        timer = self._later(self._begin_second)
        try:
            answer = await self._first
        except Exception as error:
            timer.cancel()
            return self._left_to_second(error)
        finally:
            timer.cancel()
            if self._first_has_ended():
                self._rival.cut()
        return self._answer if self.by_second else answer

    def _first_has_ended(self) -> bool:
        """Whether the second is still running, to no end."""
        with self._lock:
            self._first_ended = True
            return self._began and not self._ended.is_set()

    def _left_to_second(self, error: Exception) -> T:
        with self._lock:
            if not self.by_second:  # then it is no cut of ours that it failed by
                self.first_error = error
        if self._began:
            self._ended.wait()
        if self.by_second:
            return self._answer
        raise error

    def _begin_second(self) -> None:
        if (work := self._rival.begin()) is None:
            return
        try:
            self._spawn(self._run_second(work), "hedge")
        except RuntimeError:  # the system has no thread left for us
            work.close()
            raise
        self._began = True

    async def _run_second(self, work: Coroutine[Any, Any, T]) -> None:
        try:
            self._settle(await work)
        except Exception as error:  # it has given its connection back, and told the board what it met
            logger.debug("a second attempt failed: %s", error)
        finally:
            self._ended.set()

    def _settle(self, answer: T) -> None:
        with self._lock:
            if self._first_ended:
                return
            self._answer, self.by_second = answer, True
            if self.first_error is None:
                self._rival.cut_first()
