"""The pool among real threads: what a single loop cannot show."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest

from pgfleet.core.failure import Fault
from pgfleet.pool import MAX_OPENING, Bound, Pool, PoolClosed, Pooled, PoolLimits, PoolTimeout
from pgfleet.runtimes import ThreadRuntime, drive

THREADS = 12
TURNS = 200
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def threads_change_often() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before_s)


class Session:
    """A connection that knows whether two threads have it at once."""

    def __init__(self) -> None:
        self.alive = True
        self.in_use = threading.Lock()


class Server:
    """Counts what is open, under a lock of its own."""

    transactional = True

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open_now = self.most_open = self.opening = self.most_opening = 0
        self.failures = random.Random(7)

    async def open(self, timeout_s: float) -> Session:
        with self.lock:
            self.opening += 1
            self.most_opening = max(self.most_opening, self.opening)
            fails = self.failures.random() < 0.1
        with self.lock:
            self.opening -= 1
            if fails:
                raise ConnectionRefusedError("refused")
            self.open_now += 1
            self.most_open = max(self.most_open, self.open_now)
        return Session()

    async def reset(self, conn: Session) -> None:
        if not conn.alive:
            raise ConnectionResetError("reset")

    async def close(self, conn: Session) -> None:
        self.drop(conn)

    def sever(self, conn: Session) -> None:
        conn.alive = False

    def abandon(self, conn: Session) -> Coroutine[Any, Any, None]:
        raise NotImplementedError

    def drop(self, conn: Session) -> None:
        with self.lock:
            conn.alive = False
            self.open_now -= 1

    def is_idle(self, conn: Session) -> bool:
        return conn.alive

    def is_gone(self, conn: Session) -> bool:
        return not conn.alive

    def lost_with(self, conn: Session, error: BaseException) -> bool:
        raise NotImplementedError

    def may_have_committed(self, transaction: Any) -> bool:
        raise NotImplementedError

    def fault(self, error: BaseException) -> Fault | None:
        return None

    async def one_row(self, conn: Session, sql: str) -> Sequence[Any]:
        raise NotImplementedError

    async def fetch(self, conn: Session, sql: str, args: Sequence[Any]) -> list[Any]:
        raise NotImplementedError

    async def execute(self, conn: Session, sql: str, args: Sequence[Any]) -> str:
        raise NotImplementedError

    async def begin(self, conn: Session, *, read_only: bool) -> Any:
        raise NotImplementedError

    async def commit(self, transaction: Any) -> None:
        raise NotImplementedError

    async def rollback(self, transaction: Any) -> None:
        raise NotImplementedError


class Crowd:
    """Threads that borrow from two pools of one server, and what went wrong."""

    def __init__(self, *limits: PoolLimits, bound: int) -> None:
        self.server = Server()
        self.runtime = ThreadRuntime()
        self.bound = Bound(bound, self.runtime)
        self.pools = [Pool(self.server, self.runtime, limit, self.bound) for limit in limits]
        self.wrong: list[str] = []
        self.lent = [0] * THREADS

    def borrow(self, number: int) -> None:
        dice = random.Random(number)
        for _ in range(TURNS):
            pool = dice.choice(self.pools)
            try:
                pooled = pool.take() or drive(pool.acquire(self.runtime.clock() + PATIENCE_S))
            except ConnectionRefusedError:
                continue
            except PoolClosed:
                return
            except PoolTimeout:
                self.wrong.append("somebody waited in vain")
                return
            self.lent[number] += 1
            self._use(pool, pooled, dice)

    def _use(self, pool: Pool[Session], pooled: Pooled[Session], dice: random.Random) -> None:
        if not pooled.raw.in_use.acquire(blocking=False):
            self.wrong.append("two threads have one connection")
        if self.server.open_now > self.bound.limit:
            self.wrong.append("more connections than the limit")
        pooled.raw.in_use.release()
        end = dice.random()
        if end < 0.1:
            pool.discard(pooled)
        elif end < 0.2:
            pool.sever(pooled)
            drive(pool.reset_and_give(pooled))
        else:
            pool.give(pooled)

    def run(self, *others: Callable[[], None]) -> None:
        threads = [threading.Thread(target=self.borrow, args=(n,), daemon=True) for n in range(THREADS)]
        threads += [threading.Thread(target=other, daemon=True) for other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        if any(thread.is_alive() for thread in threads):
            self.wrong.append("a thread is stuck")

    def check(self) -> None:
        assert not self.wrong
        assert self.bound.waiting == 0
        assert self.server.most_open <= self.bound.limit
        assert self.server.most_opening <= MAX_OPENING * len(self.pools)
        for pool in self.pools:
            assert not pool._busy
            assert pool._opening == 0
            assert pool.size == len(pool._idle)
        assert self.server.open_now == sum(pool.size for pool in self.pools)


def test_one_pool_among_threads() -> None:
    crowd = Crowd(PoolLimits(4), bound=4)
    crowd.run()
    crowd.check()
    assert min(crowd.lent) > TURNS / 2, "everybody had his turns"


def test_two_pools_that_share_a_bound_among_threads() -> None:
    crowd = Crowd(PoolLimits(3), PoolLimits(4), bound=4)
    crowd.run()
    crowd.check()


def test_pools_that_are_looked_after_meanwhile() -> None:
    crowd = Crowd(PoolLimits(3, min_size=2, max_idle_s=0.001, max_lifetime_s=0.01), PoolLimits(4), bound=5)

    def look_after() -> None:
        for turn in range(TURNS):
            pool = crowd.pools[turn % 2]
            if turn % 10 == 0:
                pool.drain()
            drive(pool.tend(crowd.runtime.clock()))
            try:
                drive(pool.fill(1.0))
            except ConnectionRefusedError:
                continue

    crowd.run(look_after, look_after)
    crowd.check()


def test_pools_that_close_in_the_middle() -> None:
    crowd = Crowd(PoolLimits(2), PoolLimits(2), bound=3)

    def close() -> None:
        while sum(crowd.lent) < THREADS * TURNS / 10:
            threading.Event().wait(0.0001)
        for pool in crowd.pools:
            drive(pool.close())

    crowd.run(close)
    crowd.check()
    assert crowd.server.open_now == 0


def test_a_thread_that_cannot_be_started_leaves_the_place_free(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(PoolLimits(4), bound=4)
    (pool,) = crowd.pools

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        for _ in range(2 * MAX_OPENING):
            with pytest.raises(RuntimeError, match="new thread"):
                drive(pool.acquire(crowd.runtime.clock() + PATIENCE_S))
    crowd.run()
    crowd.check()
    assert crowd.lent[0]


def test_nobody_waits_longer_than_his_time_for_a_driver_that_does_and_what_it_opens_is_kept() -> None:
    crowd = Crowd(PoolLimits(1), bound=1)
    (pool,), go_on = crowd.pools, threading.Event()
    opens = crowd.server.open

    async def open_slowly(timeout_s: float) -> Session:
        go_on.wait(PATIENCE_S)
        return await opens(timeout_s)

    crowd.server.failures = random.Random(0)
    crowd.server.open = open_slowly  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        drive(pool.acquire(crowd.runtime.clock() + 0.01))
    assert not go_on.is_set()
    go_on.set()
    drive(crowd.runtime.close(PATIENCE_S))
    assert pool.take()
