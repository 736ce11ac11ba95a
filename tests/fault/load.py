"""Callers that read for as long as a test breaks things: the load of a drill, without its pauses and its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from pgfleet.drill.calls import Answer, Call, Group, Kind
from pgfleet.drill.load import Load as UnderWay
from pgfleet.drill.load import load as drill_load
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually_async
from tests.faces import PORT, Router

READERS = (Group(Kind.FETCH, callers=16, per_s=400.0),)


@dataclass
class Load:
    """What the callers saw."""

    under_way: UnderWay
    forgotten_s: float = 0.0

    @property
    def errors(self) -> list[Call]:
        """The calls that failed."""
        return [call for call in self.under_way.calls if not call.answer]

    @property
    def answers(self) -> Counter[str]:
        """By node, of the reads that began since the last `forget`."""
        calls = (call for call in self.under_way.calls if call.began_s >= self.forgotten_s)
        return Counter(call.answer.node for call in calls if call.answer)

    def forget(self) -> None:
        """Count anew."""
        self.forgotten_s = monotonic()

    async def after(self, reads: int) -> Counter[str]:
        """The nodes that answered the next so many reads."""
        self.forget()
        await becomes(lambda: self.answers.total() >= reads or bool(self.errors))
        assert not self.errors, str(self.errors[0])
        return self.answers

    async def each_anew(self) -> None:
        """Return when every caller has begun and ended another read: none that is under way now is left."""
        self.forget()
        await becomes(lambda: self.callers_since == READERS[0].callers or bool(self.errors))

    @property
    def callers_since(self) -> int:
        """How many callers have begun and ended a read since the last `forget`."""
        return len({call.caller for call in self.under_way.calls if call.began_s >= self.forgotten_s})


def load(fleet: LocalFleet, router: Router) -> AbstractAsyncContextManager[Load]:
    """16 callers of `fetch` while the block runs; it ends with an error if any of them met one."""
    return load_on({fleet.node(name).port: name for name in fleet.names}, router)


@asynccontextmanager
async def load_on(names: dict[int, str], router: Router) -> AsyncIterator[Load]:
    """The same for any servers, by the ports that they listen on."""

    async def read() -> Answer:
        return Answer(names[await router.value(PORT)])

    async with drill_load({Kind.FETCH: read}, READERS) as under_way:
        seen = Load(under_way)
        yield seen
    assert not seen.errors, f"{len(seen.errors)} errors, the first: {seen.errors[0]}"


async def becomes(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for it, while everything else goes on."""

    async def met() -> bool:
        return condition()

    await eventually_async(met, within_s)
