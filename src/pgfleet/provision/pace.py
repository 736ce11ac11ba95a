"""Waiting for something that takes its time: asked again and again, and not forever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How often it is asked, and for how long. Without figures: as a cloud is asked for a new instance."""

    poll_s: float = 15.0
    longest_s: float = 4 * 3600.0
    """The first copy of a large database takes hours."""

    async def looks(self) -> AsyncIterator[None]:
        """Once now, and again after each pause. Ends when the time is over."""
        clock = asyncio.get_running_loop().time
        until_s = clock() + self.longest_s
        yield
        while clock() < until_s:
            await asyncio.sleep(self.poll_s)
            yield
