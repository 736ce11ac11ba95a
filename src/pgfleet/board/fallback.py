"""Reads that find no replica fall to the primary, which is there for the writes: how many, and in what order."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pgfleet.board.shared import SharedGate
from pgfleet.core.budget import Turns
from pgfleet.core.intent import ReadIntent
from pgfleet.core.plan import Plan
from pgfleet.pool import Pool, Pooled
from pgfleet.ports import Runtime
from pgfleet.settings import Settings

C = TypeVar("C")


class Fallback:
    """The rate at which reads may fall to the primary. Where no replicas are used, none of them falls."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings = settings
        self._turns = Turns(settings.fallback_rate)
        self._lock = runtime.lock()

    @property
    def policy(self) -> str:
        """What becomes of reads beyond the caps: `wait`, `shed` or `stale`."""
        return self._settings.overload

    @property
    def is_capped(self) -> bool:
        """Whether reads of the primary are the exception."""
        return self._settings.expects_replicas

    def falls(self, name: str, plan: Plan, intent: ReadIntent) -> bool:
        """Whether this read would take this node only for want of a replica."""
        return name == plan.primary and intent.prefer_replica and self.is_capped

    def next_s(self, now_s: float) -> float:
        """When a read that comes now would have its turn."""
        return self._turns.next_s(now_s)

    def take_turn(self, now_s: float, before_s: float) -> float | None:
        """The moment of the turn that is taken; None: it would not come before `before_s`, and none is taken."""
        with self._lock:
            return self._turns.take(now_s) if self._turns.next_s(now_s) <= before_s else None

    def caps(self) -> str:
        """The limits, for people."""
        known = self._settings
        return (
            f"{known.fallback_rate:g} reads per second (PGFLEET_FALLBACK_RATE) on {known.fallback_share:.0%} of its "
            f"connections (PGFLEET_FALLBACK_SHARE)"
        )


class Place:
    """The place of one read in the line for the primary."""

    def __init__(self, fallback: Fallback, deadline_s: float) -> None:
        self._fallback = fallback
        self._deadline_s = deadline_s
        self._turn_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """How long its turn is still away: 0.0 when it has come, to stay. One beyond the deadline is not taken."""
        if self._turn_s is None:
            self._turn_s = self._fallback.take_turn(now_s, self._deadline_s)
        turn_s = self._deadline_s if self._turn_s is None else self._turn_s
        return max(0.0, turn_s - now_s)

    def has_come(self, now_s: float) -> bool:
        """Whether the read may take the primary."""
        return self.wait_s(now_s) == 0.0 and self._turn_s is not None


class Gate(Generic[C]):
    """The primary's pool for reads as the short way meets it while no replica qualifies: one turn for each take."""

    def __init__(self, pool: Pool[C], fallback: Fallback, runtime: Runtime) -> None:
        self.pool = pool
        self._fallback = fallback
        self._clock = runtime.clock

    def take(self) -> Pooled[C] | None:
        """A living idle connection and a turn, at once; None when either is missing."""
        now_s = self._clock()
        if self._fallback.next_s(now_s) > now_s or (pooled := self.pool.take()) is None:
            return None
        if self._fallback.take_turn(now_s, now_s) is None:  # another thread was faster
            self.pool.give(pooled)
            return None
        return pooled

    def has_room(self) -> bool:
        """Nothing is opened from here."""
        return False


AnyPool = Pool[Any] | Gate[Any] | SharedGate[Any]
"""What a routing table offers."""


def fallback_size(settings: Settings, limit: int) -> int:
    """How many of a primary's connections reads may take: a share while replicas serve them, all of them else."""
    return max(1, int(limit * settings.fallback_share)) if settings.expects_replicas else limit
