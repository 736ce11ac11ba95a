"""A steady load of many callers, and what they saw of a fault."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from time import monotonic

CALLERS = 16
READS_PER_S = 300
PACE_S = CALLERS / READS_PER_S
"""From one read of a caller to its next."""

READS_IN_VIEW = 50
FAIR_PART = 0.2

ReadPort = Callable[[], Awaitable[int]]
"""One read; the port of the server that answered it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One read of one caller."""

    caller: int
    began_s: float
    ended_s: float
    port: int | None
    """None: it failed."""
    error: str = ""


class Load:
    """The callers' reads, in the order in which they ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def between(self, start_s: float, end_s: float) -> View:
        """What began and ended from one moment to another."""
        return View([o for o in self.outcomes if start_s <= o.began_s and o.ended_s <= end_s])


class View:
    """A stretch of a load."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = outcomes

    @property
    def errors(self) -> int:
        return sum(outcome.port is None for outcome in self.outcomes)

    @property
    def first_error(self) -> str:
        """What the first read that failed said."""
        return next((outcome.error for outcome in self.outcomes if outcome.port is None), "")

    @property
    def longest_gap_s(self) -> float:
        """Between two successful reads, whoever made them."""
        ends = [outcome.ended_s for outcome in self.outcomes if outcome.port is not None]
        return max((later - earlier for earlier, later in pairwise(ends)), default=inf)

    @property
    def longest_wait_s(self) -> float:
        """Of one caller, from the beginning of a read to its success, or to that of the caller's next that had any."""
        return max((wait for caller in range(CALLERS) for wait in self._waits_s(caller)), default=inf)

    def part_on(self, port: int) -> float:
        """The part of the successful reads that this server answered."""
        ports = [outcome.port for outcome in self.outcomes if outcome.port is not None]
        return ports.count(port) / len(ports) if ports else 0.0

    def back_on(self, port: int) -> float:
        """The first moment after which this server answers its part of the reads; infinite if it never does."""
        window: deque[Outcome] = deque(maxlen=READS_IN_VIEW)
        for outcome in self.outcomes:
            window.append(outcome)
            if sum(seen.port == port for seen in window) >= FAIR_PART * READS_IN_VIEW:
                return next(seen.ended_s for seen in window if seen.port == port)
        return inf

    def _waits_s(self, caller: int) -> Iterator[float]:
        wanted_s: float | None = None
        for outcome in self.outcomes:
            if outcome.caller != caller:
                continue
            wanted_s = outcome.began_s if wanted_s is None else wanted_s
            if outcome.port is not None:
                yield outcome.ended_s - wanted_s
                wanted_s = None
        if wanted_s is not None:
            yield inf


@asynccontextmanager
async def load(read: ReadPort) -> AsyncIterator[Load]:
    """Callers who read at their pace until the block ends. One who was held up makes up for it at once."""
    under_way, stop = Load(), asyncio.Event()
    callers = [asyncio.create_task(_call(number, read, under_way, stop)) for number in range(CALLERS)]
    try:
        yield under_way
    finally:
        stop.set()
        await asyncio.gather(*callers)


async def _call(number: int, read: ReadPort, under_way: Load, stop: asyncio.Event) -> None:
    due_s = monotonic() + PACE_S * number / CALLERS
    while not stop.is_set():
        await asyncio.sleep(due_s - monotonic())
        due_s += PACE_S
        under_way.outcomes.append(await _outcome(number, read))


async def _outcome(number: int, read: ReadPort) -> Outcome:
    began_s = monotonic()
    try:
        port = await read()
    except Exception as error:
        return Outcome(number, began_s, monotonic(), None, f"{type(error).__name__}: {error}")
    return Outcome(number, began_s, monotonic(), port)
