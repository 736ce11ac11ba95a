"""Races of two attempts at one answer among tasks, the second begun only when the first is late.

The first stays in its caller's own task, so that a race which is not needed costs next to nothing: its coroutine is
driven here by hand, and the futures that it waits for go to the event loop untouched.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from math import inf
from typing import Any, Generic, TypeVar

from pgfleet.ports import Rival, Timer

T = TypeVar("T")

SWEEP_S = 0.002
"""How closely the delays are kept. A timer that wakes the loop more often costs more than the reads it looks after."""

Later = Callable[[float, Callable[[], None]], Timer]
"""Makes a call in so many seconds."""


class TaskRaces:
    """The races of one event loop. One timer looks after all of them: one for each would cost more than the read.

    `later` had better not be the loop's own: while one of its timers is due within milliseconds, each wait of the loop
    sets a short timer in the kernel, which costs a read half as much again as all else here.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        begin: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        later: Later,
    ) -> None:
        self.begin = begin
        """Run a coroutine as a task."""
        self._loop = loop
        self._later = later
        self._armed: deque[TaskRace[Any]] = deque()
        self._timer: Timer | None = None
        self._next_s = inf
        """When the timer is due."""

    def arm(self, race: TaskRace[Any], delay_s: float) -> None:
        """Begin the second when the first takes longer than this."""
        race.due_s = self._loop.time() + delay_s
        self._armed.append(race)
        if race.due_s < self._next_s - SWEEP_S:
            self._sweep_in(delay_s)

    def _sweep_in(self, delay_s: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._next_s = self._loop.time() + delay_s
        self._timer = self._later(delay_s, self._sweep)

    def _sweep(self) -> None:
        now_s, self._next_s = self._loop.time(), inf
        armed, self._armed = self._armed, deque()
        for race in armed:
            if race.is_over:
                continue
            if race.due_s <= now_s:
                race.begin_second()
            else:
                self._armed.append(race)
        if self._armed:
            next_s = min(race.due_s for race in self._armed) - now_s
            self._sweep_in(max(SWEEP_S, next_s))


class Cancelled:
    """Awaited, cancels a coroutine that was driven by hand so far, and lets it clean up."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, None, None]:
        """Whatever it ends with is nobody's concern any more."""
        try:
            waits_for = self._work.throw(asyncio.CancelledError())
            while True:
                try:
                    yield waits_for
                except BaseException as error:
                    waits_for = self._work.throw(error)
                else:
                    waits_for = self._work.send(None)
        except (StopIteration, asyncio.CancelledError, Exception):
            return


class TaskRace(Generic[T]):
    """A race among tasks: the second is a task of its own."""

    __slots__ = (
        "_caller", "_cancelled", "_delay_s", "_first", "_races", "_rival", "_second", "_waits_for", "_won",
        "by_second", "due_s", "first_error", "is_over",
    )  # fmt: skip

    def __init__(
        self, races: TaskRaces, first: Coroutine[Any, Any, T], delay_s: float, rival: Rival[T]
    ) -> None:
        self._races = races
        self._first = first
        self._delay_s = delay_s
        self._rival = rival
        self._second: asyncio.Task[T] | None = None
        self._won = False
        self.due_s = 0.0
        self.by_second = False
        self.first_error: Exception | None = None
        self.is_over = False

    def __await__(self) -> Generator[Any, None, T]:
        """Hand on what the first waits for, until it ends or the second has won."""
        try:
            self._waits_for = self._first.send(None)
            self._races.arm(self, self._delay_s)
            self._caller = asyncio.current_task()
            while not self._won:
                try:
                    yield self._waits_for
                except BaseException as error:
                    if self._is_beaten():
                        break
                    self._waits_for = self._first.throw(error)
                else:
                    self._waits_for = self._first.send(None)
        except StopIteration as done:
            answer: T = done.value
            return answer
        except Exception as error:
            self.first_error = error
            return (yield from self._left_to_second(error))
        except asyncio.CancelledError:
            if self._second:
                self._rival.cut()  # whoever is cancelled keeps nothing, not even for a second
            raise
        finally:
            self._end()
        self._rival.first_lost(Cancelled(self._first))
        return self._seconds_answer()

    def _end(self) -> None:
        self.is_over = True
        if self._second and not self._second.done():
            self._second.cancel()

    def _is_beaten(self) -> bool:
        """Whether it was the second that woke us; a caller who was cancelled meanwhile is cancelled all the same."""
        return self._won and self._caller is not None and self._caller.cancelling() == self._cancelled

    def _left_to_second(self, error: Exception) -> Generator[Any, None, T]:
        """The first has failed: what the second says, if it runs, is the answer."""
        if self._second is None:
            raise error
        try:
            yield from self._second
        except asyncio.CancelledError:
            self._rival.cut()
            raise
        except Exception:
            raise error from None
        return self._seconds_answer()

    def _seconds_answer(self) -> T:
        assert self._second
        self.by_second = True
        return self._second.result()

    def begin_second(self) -> None:
        """The first is late."""
        if (work := self._rival.begin()) is None:
            return
        assert self._caller
        self._cancelled = self._caller.cancelling()
        self._second = self._races.begin(work)
        self._second.add_done_callback(self._second_done)

    def _second_done(self, second: asyncio.Task[T]) -> None:
        """Wake the caller by cancelling what the first waits for, unless that has just come."""
        if second.cancelled() or second.exception() or self.is_over:
            return
        self._won = True
        if self._waits_for is not None and self.first_error is None:
            self._waits_for.cancel()
