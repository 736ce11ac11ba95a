"""Callers who call at a steady pace for as long as things are broken, and a note of each call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from time import monotonic

from pgfleet.drill.calls import Answer, Call, Group, Kind

FINISH_S = 10.0
"""How long calls that are under way at the end have to finish; then they count as never answered."""

Ask = Callable[[], Awaitable[Answer]]
"""One call."""


class Load:
    """The calls so far, in the order in which they ended."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def call(self, kind: Kind, caller: int, ask: Ask, due_s: float) -> None:
        """Call once, and note what came of it."""
        began_s, answer, error, message = monotonic(), None, "", ""
        try:
            answer = await ask()
        except asyncio.CancelledError:
            error, message = "NeverAnswered", f"still waiting {FINISH_S:g} s after the end"
            raise
        except Exception as failed:
            error, message = type(failed).__name__, _first_line(failed)
        finally:
            self.calls.append(Call(kind, caller, due_s, began_s, monotonic(), answer, error, message))


@asynccontextmanager
async def load(asks: Mapping[Kind, Ask], groups: tuple[Group, ...]) -> AsyncIterator[Load]:
    """Let the callers work until the block ends. One who was held up makes up for it at once."""
    under_way, stop = Load(), asyncio.Event()
    callers = [
        asyncio.create_task(_caller(group, number, asks[group.kind], under_way, stop))
        for group in groups
        for number in range(group.callers)
    ]
    try:
        yield under_way
    finally:
        stop.set()
        await _finish(callers)


async def _caller(group: Group, number: int, ask: Ask, under_way: Load, stop: asyncio.Event) -> None:
    pace_s = group.callers / group.per_s
    due_s = monotonic() + pace_s * number / group.callers
    while not stop.is_set():
        await asyncio.sleep(due_s - monotonic())
        await under_way.call(group.kind, number, ask, due_s)
        due_s += pace_s


async def _finish(callers: list[asyncio.Task[None]]) -> None:
    if not callers:
        return
    _, hanging = await asyncio.wait(callers, timeout=FINISH_S)
    for caller in hanging:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else ""
