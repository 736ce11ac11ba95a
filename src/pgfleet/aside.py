"""Work that its caller may stop waiting for: what opens a connection may hang for as long as the network likes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from pgfleet.ports import Runtime

T = TypeVar("T")


class Abandoned(Exception):
    """Somebody knows that the work is not worth waiting for."""


class Aside(Generic[T]):
    """Does `work` beside its caller. What comes of it once he has left goes to `late`.

    When he leaves, a task is cancelled; a thread goes on until its own timeout.
    """

    def __init__(
        self, runtime: Runtime, work: Callable[[], Awaitable[T]], late: Callable[[T], None], name: str
    ) -> None:
        self._lock = runtime.lock()
        self._ended = runtime.signal()
        self._late = late
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._left = self._begun = False
        self._spawned = runtime.spawn(self._run(work), name)

    def abandon(self) -> None:
        """Send the caller away at once, with Abandoned. He gets what is there already."""
        self._ended.set()

    async def result(self, timeout_s: float) -> T:
        """What the work returns. Raises what it raises, TimeoutError, and Abandoned."""
        try:
            in_time = await self._ended.wait(timeout_s)
        except BaseException:
            if not self._leave():
                self._late(self._results[0])
            raise
        if not self._leave():
            return self._results[0]
        raise self._error or (Abandoned() if in_time else TimeoutError("no answer in time"))

    def _leave(self) -> bool:
        """Stop waiting. False: the work is done, and its result is this caller's."""
        with self._lock:
            self._left = True
            done = bool(self._results)
        if (
            not done and self._begun
        ):  # a task that is cancelled before it begins never does what it must do at its end
            self._spawned.cancel()
        return not done

    async def _run(self, work: Callable[[], Awaitable[T]]) -> None:
        self._begun = True
        try:
            result = await work()
        except Exception as error:
            self._error = error
        else:
            self._hand_over(result)
        finally:
            self._ended.set()

    def _hand_over(self, result: T) -> None:
        with self._lock:
            if not self._left:
                self._results.append(result)
                return
        self._late(result)
