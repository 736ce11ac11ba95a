"""The connections of a pool, idle and lent: which there are, how old they get, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from pgfleet.pool.bound import Bound
from pgfleet.pool.places import Places, PoolLimits
from pgfleet.pool.pooled import Pooled
from pgfleet.ports import Connector

C = TypeVar("C")


class Stock(Places, Generic[C]):
    """A stack of idle connections, and those that are lent."""

    def __init__(self, connector: Connector[C], limits: PoolLimits, bound: Bound) -> None:
        super().__init__(limits, bound)
        self.connector = connector
        self._idle: list[Pooled[C]] = []
        self._busy: dict[Pooled[C], None] = {}
        """In the order in which they were lent."""
        self._lives = connector.is_idle

    def has_idle(self) -> bool:
        """Whether a connection is waiting to be lent."""
        return bool(self._idle)

    def has_room(self) -> bool:
        """Whether a caller need not wait for another to give back."""
        return bool(self._idle) or self._may_open()

    def take(self) -> Pooled[C] | None:
        """A living idle connection, at once and without a lock; None when there is none."""
        idle = self._idle
        while idle:
            try:
                pooled = idle.pop()
            except IndexError:  # another thread was faster
                return None
            if self._lives(pooled.raw):
                self._busy[pooled] = None
                return pooled
            self._forget(pooled)
        return None

    def discard(self, pooled: Pooled[C]) -> None:
        """Drop a lent connection that nobody may use again."""
        del self._busy[pooled]
        self._drop(pooled)

    def evict_one(self) -> bool:
        """Close the connection that has been idle longest, for the sake of a sibling. Called under the lock."""
        try:
            self._forget(self._idle.pop(0))
        except IndexError:
            return False
        return True

    # what is lent

    def waits_s(self, now_s: float, at_least_s: float) -> list[float]:
        """How long each statement that can run elsewhere has been under way, of those that have been for so long."""
        waits_s = [now_s - pooled.lent_s for pooled in list(self._busy) if pooled.replayable]
        return [wait_s for wait_s in waits_s if wait_s >= at_least_s]

    def sever_lent(self) -> None:
        """Cut whatever goes on on a connection of this pool."""
        for pooled in list(self._busy):
            self.sever(pooled)

    def sever_replayable(self) -> None:
        """Cut every statement that can run elsewhere, and every cleaning: its node has been given up."""
        for pooled in list(self._busy):
            if pooled.replayable or pooled.being_cleaned:
                self.sever(pooled)

    def sever(self, pooled: Pooled[C]) -> None:
        """Cut a lent connection: whoever waits on it fails at once."""
        pooled.condemned = pooled.severed = True
        self.connector.sever(pooled.raw)

    # what is too old

    def drain(self) -> None:
        """Lend nothing that is open now again: idle connections go at once, lent ones when they come back."""
        for pooled in list(self._busy):
            pooled.condemned = True
        for pooled in self._withdraw(lambda _: True):
            self._drop(pooled)

    async def tend(self, now_s: float) -> None:
        """End what is too old or too long idle. To be called every second or so."""
        self._refusals //= 2
        for pooled in list(self._busy):
            pooled.condemned = pooled.condemned or self._is_old(pooled, now_s)
        await self._end(
            self._withdraw(lambda pooled: self._is_old(pooled, now_s) or not self._lives(pooled.raw))
        )
        spare = self.size - self.limits.min_size
        await self._end(self._withdraw(lambda pooled: self._is_long_idle(pooled, now_s), at_most=spare))

    def _is_old(self, pooled: Pooled[C], now_s: float) -> bool:
        return now_s - pooled.opened_s >= self.limits.max_lifetime_s

    def _is_long_idle(self, pooled: Pooled[C], now_s: float) -> bool:
        pooled.idle_since_s = pooled.idle_since_s or now_s
        return now_s - pooled.idle_since_s >= self.limits.max_idle_s

    # how they end

    def _withdraw(self, unwanted: Callable[[Pooled[C]], bool], at_most: int | None = None) -> list[Pooled[C]]:
        """Take idle connections out of the pool, the longest idle first. They still count."""
        with self._lock:
            gone = [pooled for pooled in list(self._idle) if unwanted(pooled)]
            gone = gone if at_most is None else gone[: max(0, at_most)]
            return [pooled for pooled in gone if self._remove_idle(pooled)]

    def _remove_idle(self, pooled: Pooled[C]) -> bool:
        try:
            self._idle.remove(pooled)
        except ValueError:  # lent meanwhile
            return False
        return True

    async def _end(self, withdrawn: list[Pooled[C]]) -> None:
        """Say goodbye to each. Cancelled, drop the rest without a word."""
        try:
            while withdrawn:
                await self.connector.close(withdrawn[-1].raw)
                withdrawn.pop()
                self._uncount()
        finally:
            for pooled in withdrawn:
                self._drop(pooled)

    def _drop(self, pooled: Pooled[C]) -> None:
        self.connector.drop(pooled.raw)
        self._uncount()

    def _forget(self, pooled: Pooled[C]) -> None:
        """Drop an idle connection on behalf of somebody who has use for its place."""
        self.connector.drop(pooled.raw)
        with self._lock:
            self.size -= 1
