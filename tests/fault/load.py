"""Callers that read without a pause for as long as a test breaks things."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from pgfleet.local import LocalFleet
from pgfleet.testing import eventually_async
from tests.faces import PORT, Router

CALLERS = 16
PAUSE_S = 0.02


@dataclass
class Load:
    """What the callers saw."""

    names: dict[int, str]
    errors: list[BaseException] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    """By node, since the last `forget`."""

    def forget(self) -> None:
        """Count anew."""
        self.answers.clear()

    async def after(self, reads: int) -> Counter[str]:
        """The nodes that answered the next so many reads."""
        self.forget()
        await becomes(lambda: self.answers.total() >= reads or bool(self.errors))
        assert not self.errors, (repr(self.errors[0]), getattr(self.errors[0], "__notes__", ()))
        return +self.answers


def load(fleet: LocalFleet, router: Router) -> AbstractAsyncContextManager[Load]:
    """16 callers of `fetch` while the block runs; it ends with an error if any of them met one."""
    return load_on({fleet.node(name).port: name for name in fleet.names}, router)


@asynccontextmanager
async def load_on(names: dict[int, str], router: Router) -> AsyncIterator[Load]:
    """The same for any servers, by the ports that they listen on."""
    seen = Load(names)
    done = asyncio.Event()
    callers = [asyncio.create_task(_call(router, seen, done)) for _ in range(CALLERS)]
    try:
        yield seen
    finally:
        done.set()
        await asyncio.wait(callers)
    assert not seen.errors, f"{len(seen.errors)} errors, the first: {seen.errors[0]!r}"


async def _call(router: Router, seen: Load, done: asyncio.Event) -> None:
    while not done.is_set():
        try:
            seen.answers[seen.names[await router.value(PORT)]] += 1
        except Exception as error:
            seen.errors.append(error)
        await asyncio.sleep(PAUSE_S)


async def becomes(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for it, while everything else goes on."""

    async def met() -> bool:
        return condition()

    await eventually_async(met, within_s)
