"""Waiting for a condition, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.02


def eventually(condition: Callable[[], T], within_s: float = 10.0) -> T:
    """Call `condition` until what it gives is true, and give that. Raises AssertionError after `within_s` seconds."""
    deadline_s = time.monotonic() + within_s
    while not (outcome := condition()):
        _check(deadline_s, within_s, outcome)
        time.sleep(PAUSE_S)
    return outcome


async def eventually_async(condition: Callable[[], Awaitable[T]], within_s: float = 10.0) -> T:
    """The same for a condition that is awaited, without holding up the event loop."""
    deadline_s = time.monotonic() + within_s
    while not (outcome := await condition()):
        _check(deadline_s, within_s, outcome)
        await asyncio.sleep(PAUSE_S)
    return outcome


def _check(deadline_s: float, within_s: float, outcome: object) -> None:
    if time.monotonic() > deadline_s:
        raise AssertionError(f"still {outcome!r} after {within_s:g} s")
