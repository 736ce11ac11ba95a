"""The caller's time for one statement, and the end of it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from pgfleet.errors import LeaseTimeout, ReadTimeout
from pgfleet.pool import Pooled
from pgfleet.ports import Runtime

T = TypeVar("T")


async def in_time(work: Awaitable[T], pooled: Pooled[Any], deadline_s: float | None, runtime: Runtime) -> T:
    """Sever the connection when the caller's time is over: a cancel request could hang on a dead path."""
    if deadline_s is None:
        return await work

    def cut() -> None:
        pooled.timed_out = True
        pooled.pool.sever(pooled)
        if twin := pooled.twin:
            twin.timed_out = True
            twin.pool.sever(twin)

    timer = runtime.call_later(max(0.0, deadline_s - runtime.clock()), cut)
    try:
        return await work
    finally:
        timer.cancel()


def late(name: str, timeout_s: float | None) -> ReadTimeout:
    """What a caller is told whose statement was cut on this node."""
    return ReadTimeout(
        f"the read did not finish within {timeout_s} s on {name}",
        "Give it a longer timeout_s, or find out why it is slow there (pg_stat_activity).",
    )


def not_begun(name: str) -> LeaseTimeout:
    """What a caller is told when this node did not begin his transaction: BEGIN has no more time than the lease."""
    return LeaseTimeout(
        f"{name} did not begin a transaction in time",
        "Nothing was sent but BEGIN: it is safe to try again. The server may hang (`pgfleet status`).",
    )
