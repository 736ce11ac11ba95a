"""The drills of the checklist: one replica stops under load and comes back, and all of a local fleet do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from time import monotonic

from pgfleet.errors import PgfleetError
from pgfleet.verify.breaking import Breaker
from pgfleet.verify.figures import FailoverFigures, FallbackFigures
from pgfleet.verify.load import Load, Router

Undisturbed = Callable[[], AbstractContextManager[None]]
CALLERS, PER_S = 4, 200.0
PAUSE_S = 0.01
HOLD_S = 0.3
"""How long reads go on without the node, once it is out of the rotation."""


class Watch:
    """Load on the router while something is stopped and started."""

    def __init__(
        self, router: Router, breaker: Breaker, within_s: float, undisturbed: Undisturbed = nullcontext
    ) -> None:
        self.router = router
        self.breaker = breaker
        self.within_s = within_s
        self._undisturbed = undisturbed
        self.load = Load(router)
        self.before = self.candidates()
        self.struck_s = self.mended_s = monotonic()

    def candidates(self) -> frozenset[str]:
        """The replicas that a plain read could be sent to now."""
        primary = self.router.topology.primary_name
        return frozenset(self.router.explain().candidates) - {str(primary)}

    def gone(self) -> frozenset[str]:
        """The replicas that took reads before, and answer nobody now. One that is only late is not gone."""
        silent = (node.name for node in self.router.topology.nodes if node.trouble)
        return self.before.intersection(silent) - self.candidates()

    async def until(self, is_so: Callable[[], bool]) -> bool:
        """Whether it becomes so in time."""
        end_s = monotonic() + self.within_s
        while not is_so():
            if monotonic() > end_s:
                return False
            await asyncio.sleep(PAUSE_S)
        return True

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Stop it, and start it again however the block ends. Raises PgfleetError when either cannot be done.

        What stops it comes to its end first, also when we are cancelled: else it would strike after the start.
        """
        self.struck_s = self.mended_s = monotonic()
        strike = asyncio.create_task(self.breaker.stop())
        try:
            await asyncio.shield(strike)
            yield
        finally:
            with self._undisturbed():
                await asyncio.wait([strike])
                self.mended_s = monotonic()
                await self.breaker.start()


async def fail_over(watch: Watch) -> FailoverFigures:
    """Stop one replica under load, see who went, start it, and wait until it answers again."""
    course = _Course()
    if not watch.before:
        return FailoverFigures((), watch.within_s, trouble="no replica takes reads, so none can be missed")
    async with watch.load.running(CALLERS, PER_S):
        try:
            await _play(watch, course)
        except PgfleetError as error:
            course.trouble = error.message
    return FailoverFigures(
        tuple(watch.load.reads),
        watch.within_s,
        course.victim,
        course.out_s,
        course.back_s,
        watch.struck_s,
        watch.mended_s,
        course.trouble,
    )


class _Course:
    """What has happened so far."""

    victim: str | None = None
    out_s: float | None = None
    back_s: float | None = None
    trouble: str = ""


async def _play(watch: Watch, course: _Course) -> None:
    async with watch.stopped():
        if await watch.until(lambda: bool(watch.gone())):
            course.victim = min(watch.gone())
            course.out_s = monotonic() - watch.struck_s
            await asyncio.sleep(HOLD_S)
    started_s = monotonic()
    first = len(watch.load.reads)

    def answers() -> bool:
        return any(r.node == course.victim and r.began_s > started_s for r in watch.load.reads[first:])

    if course.victim and await watch.until(answers):
        course.back_s = monotonic() - started_s


async def stop_all(watch: Watch, stopped: tuple[str, ...]) -> FallbackFigures:
    """Stop every replica under load, read, and start them."""
    trouble, away_s = "", 0.0
    async with watch.load.running(CALLERS, PER_S):
        try:
            async with watch.stopped():
                if not await watch.until(lambda: not watch.candidates()):
                    trouble = f"{', '.join(sorted(watch.candidates()))} still takes reads"
                away_s = monotonic()
                await asyncio.sleep(HOLD_S)
        except PgfleetError as error:
            trouble = error.message
        if not await watch.until(lambda: watch.candidates() >= watch.before):
            trouble = trouble or f"not all replicas took reads again within {watch.within_s:g} s"
    reads = (r for r in watch.load.reads if r.error or away_s <= r.began_s < watch.mended_s)
    return FallbackFigures(tuple(reads), stopped, trouble)
