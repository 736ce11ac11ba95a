from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from pgfleet.adapters.session import SessionSettings
from pgfleet.core.report import PoolStats
from pgfleet.pool import MAX_OPENING, Bound, Pool, PoolClosed, Pooled, PoolLimits, PoolTimeout
from tests.examples import examples
from tests.fakes import (
    FakeConnection,
    FakeServer,
    VirtualLoop,
    VirtualRuntime,
    World,
    dsn,
    in_virtual_time,
    pass_time,
    settle,
    sql_error,
)

Lent = Pooled[FakeConnection]
SESSION = SessionSettings(dsn("primary"), statement_timeout_s=1.0)


@dataclass
class House:
    """A server, and pools of it that share one bound."""

    server: FakeServer
    world: World
    bound: Bound
    pools: list[Pool[FakeConnection]]
    runtime: VirtualRuntime
    lines: dict[str, asyncio.Task[Lent]] = field(default_factory=dict)

    @property
    def pool(self) -> Pool[FakeConnection]:
        return self.pools[0]

    async def take(self, pool: int = 0, timeout_s: float = 10.0) -> Lent:
        return await self.pools[pool].acquire(self.runtime.clock() + timeout_s)

    def caller(self, pool: int = 0, timeout_s: float = 10.0) -> asyncio.Task[Lent]:
        return asyncio.get_running_loop().create_task(self.take(pool, timeout_s))

    async def crowd(self, count: int, pool: int = 0, timeout_s: float = 10.0) -> list[asyncio.Task[Lent]]:
        callers = [self.caller(pool, timeout_s) for _ in range(count)]
        await settle()
        return callers


def house(*limits: PoolLimits, bound: int = 100) -> House:
    server = FakeServer("primary", in_recovery=False)
    world = World(server)
    runtime = VirtualRuntime()
    shared = Bound(bound, runtime)
    pools = [Pool(world.connect(SESSION), runtime, limit, shared) for limit in limits]
    return House(server, world, shared, pools, runtime)


def done(callers: list[asyncio.Task[Lent]]) -> list[bool]:
    return [caller.done() for caller in callers]


# lending


@in_virtual_time
async def test_the_connection_given_back_last_is_lent_first() -> None:
    h = house(PoolLimits(3))
    first, second = await h.take(), await h.take()
    h.pool.give(first)
    h.pool.give(second)
    assert await h.take() is second
    assert h.server.opened == 2


@in_virtual_time
async def test_those_in_line_are_served_in_their_order() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    callers = await h.crowd(3)
    for n in range(3):
        h.pool.give(lent)
        await settle()
        assert done(callers) == [i <= n for i in range(3)]
        assert callers[n].result() is lent


@in_virtual_time
async def test_nobody_overtakes_the_line() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    (waiting,) = await h.crowd(1)
    h.pool.give(lent)
    assert h.pool.take() is None, "the connection is the waiter's, although he has not run yet"
    newcomer = h.caller()
    await settle()
    assert waiting.done()
    assert not newcomer.done()
    h.pool.give(waiting.result())
    await newcomer


@in_virtual_time
async def test_nobody_overtakes_the_line_to_a_place_either() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    (waiting,) = await h.crowd(1)
    h.pool.discard(lent)
    newcomer = h.caller()
    await settle()
    assert done([waiting, newcomer]) == [True, False]


@in_virtual_time
async def test_a_dead_idle_connection_is_never_lent() -> None:
    h = house(PoolLimits(3))
    lent = [await h.take() for _ in range(3)]
    for pooled in lent:
        h.pool.give(pooled)
    h.server.restart()
    assert h.pool.take() is None
    assert h.pool.size == 0
    assert (await h.take()).raw.alive


@in_virtual_time
async def test_a_connection_in_a_transaction_is_never_lent() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    lent.raw.in_transaction = True
    h.pool.give(lent)
    assert (await h.take()) is not lent


@in_virtual_time
async def test_a_new_connection_is_looked_at_before_it_is_lent() -> None:
    h = house(PoolLimits(1))

    async def admit(conn: FakeConnection) -> None:
        if conn.serial == 1:
            raise ConnectionError("not this one")

    h.pool.admit = admit
    with pytest.raises(ConnectionError, match="not this one"):
        await h.take()
    assert not h.server.connections, "what is refused is closed"
    assert h.pool.size == 0
    await h.take()


# time


@in_virtual_time
async def test_the_wait_ends_at_the_deadline_and_leaves_nothing() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    began_s = h.runtime.clock()
    with pytest.raises(PoolTimeout):
        await h.take(timeout_s=2.5)
    assert h.runtime.clock() - began_s == pytest.approx(2.5)
    assert h.bound.waiting == 0
    h.pool.give(lent)
    assert h.pool.take() is lent


@in_virtual_time
async def test_without_time_nothing_is_opened() -> None:
    h = house(PoolLimits(1))
    with pytest.raises(PoolTimeout):
        await h.take(timeout_s=0.0)
    assert h.server.opened == 0
    assert h.pool.size == 0


@in_virtual_time
async def test_opening_gets_the_time_that_is_left() -> None:
    h = house(PoolLimits(1))
    h.server.silent = True
    with pytest.raises(TimeoutError):
        await h.take(timeout_s=1.5)
    assert h.runtime.clock() == pytest.approx(1001.5)
    assert h.pool.size == 0


@in_virtual_time
async def test_a_waiter_that_is_served_at_his_deadline_has_his_connection() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    caller = h.caller(timeout_s=1.0)
    asyncio.get_running_loop().call_later(1.0, h.pool.give, lent)
    outcome = (await asyncio.gather(caller, return_exceptions=True))[0]
    if isinstance(outcome, PoolTimeout):
        assert h.pool.take() is lent, "either he has it or the pool"
    else:
        assert outcome is lent


# cancellation


@in_virtual_time
async def test_a_cancelled_waiter_leaves_the_line() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    callers = await h.crowd(2)
    callers[0].cancel()
    await settle()
    assert h.bound.waiting == 1
    h.pool.give(lent)
    assert await callers[1] is lent


@in_virtual_time
async def test_a_waiter_cancelled_after_being_served_passes_the_connection_on() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    callers = await h.crowd(2)
    h.pool.give(lent)  # callers[0] has it, but has not run yet
    callers[0].cancel()
    await settle()
    assert callers[0].cancelled()
    assert callers[1].result() is lent


@in_virtual_time
async def test_a_waiter_cancelled_after_being_served_alone_puts_the_connection_back() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    (caller,) = await h.crowd(1)
    h.pool.give(lent)
    caller.cancel()
    await settle()
    assert h.pool.stats() == PoolStats(0, 1, 0, 1)
    assert h.pool.take() is lent


@in_virtual_time
async def test_a_waiter_cancelled_after_being_served_a_place_passes_it_on() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    callers = await h.crowd(2)
    h.pool.discard(lent)  # its place is callers[0]'s
    callers[0].cancel()
    await settle()
    assert callers[1].result().raw.alive
    assert h.pool.size == 1


@in_virtual_time
async def test_a_caller_cancelled_while_opening_passes_the_place_on() -> None:
    h = house(PoolLimits(1))
    h.server.latency_s = 1.0
    callers = await h.crowd(2)
    callers[0].cancel()
    await pass_time(1.1)
    assert callers[1].result().raw.alive
    assert h.pool.size == 1
    assert len(h.server.connections) == 1


@in_virtual_time
async def test_a_caller_cancelled_while_his_connection_is_looked_at_closes_it() -> None:
    h = house(PoolLimits(1))

    async def admit(conn: FakeConnection) -> None:
        await pass_time(1.0)

    h.pool.admit = admit
    (caller,) = await h.crowd(1)
    caller.cancel()
    await settle()
    assert not h.server.connections
    assert h.pool.size == 0


# opening


@in_virtual_time
async def test_a_crowd_meets_a_server_that_comes_back_in_small_groups() -> None:
    h = house(PoolLimits(50))
    h.server.latency_s = 1.0
    callers = await h.crowd(40)
    assert h.server.opening == MAX_OPENING
    await pass_time(10)
    assert all(done(callers))
    assert h.server.most_opening == MAX_OPENING


@in_virtual_time
async def test_an_open_that_fails_passes_the_place_on() -> None:
    h = house(PoolLimits(1))
    h.server.latency_s = 0.1
    h.server.refuses = ConnectionRefusedError("refused")
    callers = await h.crowd(3)
    await pass_time(0.15)
    assert done(callers) == [True, False, False]
    h.server.refuses = None
    await pass_time(0.2)
    assert isinstance(callers[0].exception(), ConnectionRefusedError)
    assert callers[1].result().raw.alive
    h.pool.give(callers[1].result())
    await settle()
    assert done(callers) == [True, True, True]


@in_virtual_time
async def test_a_pool_that_refuses_does_not_look_idle() -> None:
    h = house(PoolLimits(4))
    h.server.refuses = ConnectionRefusedError("refused")
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await h.take()
    assert h.pool.in_flight == 3
    await h.pool.tend(h.runtime.clock())
    assert h.pool.in_flight == 1, "and is tried again after a while"
    h.server.refuses = None
    h.pool.give(await h.take())
    assert h.pool.in_flight == 0


# giving back


@in_virtual_time
async def test_a_connection_is_clean_when_it_is_lent_again() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    await h.pool.connector.fetch(lent.raw, "select 1", ())
    assert await h.pool.reset_and_give(lent) is None
    again = await h.take()
    assert again is lent
    assert not again.raw.dirty


@in_virtual_time
async def test_a_connection_that_cannot_be_cleaned_is_dropped() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    (waiting,) = await h.crowd(1)
    h.server.reset_error = sql_error("XX000")
    assert await h.pool.reset_and_give(lent) is h.server.reset_error
    await settle()
    assert not lent.raw.alive
    assert waiting.result() is not lent


@in_virtual_time
async def test_a_connection_whose_cleaning_is_cancelled_is_dropped() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    h.server.latency_s = 1.0
    giving = asyncio.ensure_future(h.pool.reset_and_give(lent))
    await settle()
    giving.cancel()
    await settle()
    assert giving.cancelled()
    assert not lent.raw.alive
    assert h.pool.stats() == PoolStats(0, 0, 0, 1)


@in_virtual_time
async def test_a_connection_that_is_still_in_a_transaction_after_cleaning_is_dropped() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()

    async def does_nothing(conn: FakeConnection) -> None:
        conn.in_transaction = True

    h.pool.connector.reset = does_nothing  # type: ignore[method-assign]
    assert await h.pool.reset_and_give(lent) is None
    assert h.pool.size == 0


@in_virtual_time
async def test_giving_back_twice_is_refused() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    h.pool.give(lent)
    with pytest.raises(KeyError):
        h.pool.give(lent)
    assert h.pool.stats() == PoolStats(0, 1, 0, 1)


# the end


@in_virtual_time
async def test_closing_sends_the_line_away() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    callers = await h.crowd(2)
    await h.pool.close()
    await settle()
    assert [type(caller.exception()) for caller in callers] == [PoolClosed, PoolClosed]
    assert lent.raw.alive, "what is lent works until it comes back"
    h.pool.give(lent)
    assert not h.server.connections
    assert h.pool.stats() == PoolStats(0, 0, 0, 1)
    with pytest.raises(PoolClosed):
        await h.take()


@in_virtual_time
async def test_closing_ends_the_idle_politely() -> None:
    h = house(PoolLimits(2))
    h.pool.give(await h.take())
    await h.pool.close()
    assert h.world.trace[-1] == ("primary", "close")


@in_virtual_time
async def test_what_is_opened_while_the_pool_closes_ends_when_it_comes_back() -> None:
    h = house(PoolLimits(1))
    h.server.latency_s = 1.0
    (caller,) = await h.crowd(1)
    await h.pool.close()
    h.pool.give(await caller)
    assert not h.server.connections


@in_virtual_time
async def test_closing_that_is_cancelled_leaves_nothing_open() -> None:
    h = house(PoolLimits(3))
    lent = [await h.take() for _ in range(3)]
    for pooled in lent:
        h.pool.give(pooled)

    async def slow(conn: FakeConnection) -> None:
        await pass_time(1.0)

    h.pool.connector.close = slow  # type: ignore[method-assign]
    closing = asyncio.ensure_future(h.pool.close())
    await settle()
    closing.cancel()
    await settle()
    assert not h.server.connections
    assert h.pool.size == 0


@in_virtual_time
async def test_a_pool_that_may_grow_serves_its_line_at_once() -> None:
    h = house(PoolLimits(1))
    callers = await h.crowd(3)
    assert done(callers) == [True, False, False]
    h.pool.resize(2)
    await settle()
    assert done(callers) == [True, True, False]


@in_virtual_time
async def test_nobody_is_kept_in_line_at_a_node_that_is_given_up() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    callers = await h.crowd(2)
    h.pool.send_away()
    await settle()
    assert [type(caller.exception()) for caller in callers] == [PoolTimeout, PoolTimeout]
    h.pool.give(lent)
    assert await h.take() is lent


@in_virtual_time
async def test_connecting_takes_no_more_than_its_part_of_the_time() -> None:
    h = house(PoolLimits(1))
    lent = await h.take()
    waiting = asyncio.ensure_future(h.pool.acquire(h.runtime.clock() + 30, connect_s=2.0))
    await pass_time(5.0)
    h.server.silent = True
    h.pool.discard(lent)
    with pytest.raises(TimeoutError, match="timed out"):
        await waiting
    assert h.runtime.clock() == pytest.approx(1007.0)


@in_virtual_time
async def test_draining_ends_every_connection_of_before() -> None:
    h = house(PoolLimits(2))
    lent, idle = await h.take(), await h.take()
    h.pool.give(idle)
    h.pool.drain()
    assert not idle.raw.alive
    assert lent.raw.alive
    (caller,) = await h.crowd(1)
    h.pool.give(lent)
    await settle()
    assert not lent.raw.alive
    assert caller.result().raw.serial == 3


# looking after


@in_virtual_time
async def test_old_connections_end_when_nobody_uses_them() -> None:
    h = house(PoolLimits(2, max_lifetime_s=60))
    lent, idle = await h.take(), await h.take()
    h.pool.give(idle)
    await h.pool.tend(h.runtime.clock() + 59)
    assert idle.raw.alive
    await h.pool.tend(h.runtime.clock() + 60)
    assert not idle.raw.alive
    assert lent.raw.alive
    h.pool.give(lent)
    assert not lent.raw.alive


@in_virtual_time
async def test_what_is_idle_for_long_ends_down_to_the_minimum() -> None:
    h = house(PoolLimits(4, min_size=1, max_idle_s=10))
    lent = [await h.take() for _ in range(4)]
    for pooled in lent:
        h.pool.give(pooled)
    await h.pool.tend(2000.0)
    await h.pool.tend(2009.0)
    assert h.pool.size == 4
    await h.pool.tend(2010.0)
    assert h.pool.size == 1
    assert lent[-1].raw.alive, "the one that is used most"


@in_virtual_time
async def test_a_connection_in_use_now_and_then_is_not_idle() -> None:
    h = house(PoolLimits(1, max_idle_s=10))
    h.pool.give(await h.take())
    await h.pool.tend(2000.0)
    h.pool.give(await h.take())
    await h.pool.tend(2011.0)
    assert h.pool.size == 1


@in_virtual_time
async def test_dead_idle_connections_are_swept() -> None:
    h = house(PoolLimits(2))
    h.pool.give(await h.take())
    h.server.restart()
    await h.pool.tend(2000.0)
    assert h.pool.size == 0


@in_virtual_time
async def test_the_minimum_is_opened_ahead() -> None:
    h = house(PoolLimits(4, min_size=3))
    await h.pool.fill(1.0)
    assert h.pool.stats() == PoolStats(0, 3, 0, 4)
    await h.pool.fill(1.0)
    assert h.server.opened == 3


@in_virtual_time
async def test_the_minimum_is_not_opened_at_a_siblings_expense() -> None:
    h = house(PoolLimits(2), PoolLimits(2, min_size=2), bound=2)
    h.pools[0].give(await h.take(0))
    await h.pools[1].fill(1.0)
    assert [pool.size for pool in h.pools] == [1, 1]


@in_virtual_time
async def test_filling_a_closed_pool_opens_nothing() -> None:
    h = house(PoolLimits(4, min_size=3))
    await h.pool.close()
    await h.pool.fill(1.0)
    assert h.server.opened == 0


@in_virtual_time
async def test_only_statements_that_can_run_elsewhere_are_cut() -> None:
    h = house(PoolLimits(2))
    mine, theirs = await h.take(), await h.take()
    mine.replayable = True
    h.pool.sever_replayable()
    assert not mine.raw.alive
    assert theirs.raw.alive


# two pools under one bound


@in_virtual_time
async def test_two_pools_share_their_bound() -> None:
    h = house(PoolLimits(3), PoolLimits(3), bound=3)
    reads = [await h.take(0), await h.take(0)]
    await h.take(1)
    (waiting,) = await h.crowd(1, pool=1)
    assert not waiting.done()
    h.pools[0].discard(reads[0])
    await settle()
    assert waiting.done(), "the place that one pool frees is the other's"


@in_virtual_time
async def test_an_idle_connection_makes_room_for_the_sibling() -> None:
    h = house(PoolLimits(2), PoolLimits(2), bound=2)
    lent = [await h.take(0), await h.take(0)]
    h.pools[0].give(lent[0])
    await h.take(1)
    assert [pool.size for pool in h.pools] == [1, 1]
    (waiting,) = await h.crowd(1, pool=1)
    h.pools[0].give(lent[1])
    await settle()
    assert waiting.done()
    assert h.server.most_at_once == 2


@in_virtual_time
async def test_a_line_that_never_ends_does_not_starve_the_sibling() -> None:
    h = house(PoolLimits(4), PoolLimits(4), bound=4)
    lent = [await h.take(0) for _ in range(4)]
    await h.crowd(50, pool=0)
    (writer,) = await h.crowd(1, pool=1)
    h.pools[0].give(lent[0])
    await settle()
    assert writer.done(), "writes do not starve behind reads"


@in_virtual_time
async def test_two_endless_lines_share_and_do_not_open_at_each_turn() -> None:
    h = house(PoolLimits(4), PoolLimits(4), bound=4)

    async def use(pool: int) -> None:
        lent = await h.take(pool, timeout_s=1000)
        await pass_time(1.0)
        h.pools[pool].give(lent)

    uses = [asyncio.ensure_future(use(pool)) for _ in range(40) for pool in (0, 1)]
    await pass_time(10.0)
    opened = h.server.opened
    assert [pool.size for pool in h.pools] == [2, 2]
    await pass_time(5.0)
    assert h.server.opened == opened
    await asyncio.gather(*uses)


# every history


class Histories(RuleBasedStateMachine):
    """Two pools of one server under one bound, and callers who do what callers do, in any order."""

    callers: Bundle[tuple[int, asyncio.Task[Lent]]] = Bundle("callers")
    pools_of = st.integers(0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.limits = (PoolLimits(3, min_size=1, max_idle_s=5, max_lifetime_s=30), PoolLimits(4))
        self.joined: list[list[asyncio.Task[Lent]]] = [[], []]
        self._do(self._build)

    def _do(self, step: Callable[[], Any]) -> None:
        async def steps() -> None:
            outcome = step()
            if asyncio.iscoroutine(outcome):
                await outcome
            await settle()

        self.loop.run_until_complete(steps())

    def _build(self) -> None:
        self.house = house(*self.limits, bound=5)

    @rule(target=callers, pool=pools_of, timeout_s=st.sampled_from((0.0, 0.5, 3.0)))
    def call(self, pool: int, timeout_s: float) -> tuple[int, asyncio.Task[Lent]]:
        task: list[asyncio.Task[Lent]] = []
        self._do(lambda: task.append(self.house.caller(pool, timeout_s)))
        self.joined[pool].append(task[0])
        return pool, task[0]

    @rule(caller=consumes(callers), how=st.sampled_from(("give", "reset", "discard", "fail", "sever")))
    def end(self, caller: tuple[int, asyncio.Task[Lent]], how: str) -> None:
        """Give back what was lent, or cancel who waits."""
        pool, task = caller
        if not task.done() or task.cancelled() or task.exception():
            self._do(task.cancel)
            return
        lent = task.result()
        home = self.house.pools[pool]
        if how == "give":
            self._do(lambda: home.give(lent))
        elif how == "discard":
            self._do(lambda: home.discard(lent))
        else:
            self._do(lambda: self._reset(home, lent, how))

    async def _reset(self, home: Pool[FakeConnection], lent: Lent, how: str) -> None:
        if how == "sever":
            home.sever(lent)
        lent.raw.dirty = True
        self.house.server.reset_error = sql_error("XX000") if how == "fail" else None
        await home.reset_and_give(lent)
        self.house.server.reset_error = None

    @rule(one=consumes(callers), other=consumes(callers))
    def give_and_cancel_at_once(
        self, one: tuple[int, asyncio.Task[Lent]], other: tuple[int, asyncio.Task[Lent]]
    ) -> None:
        """The hand-over race: somebody is served and cancelled before he has run."""

        def race() -> None:
            if one[1].done() and not one[1].cancelled() and not one[1].exception():
                self.house.pools[one[0]].give(one[1].result())
            else:
                one[1].cancel()
            if other[1].done() and not other[1].cancelled() and not other[1].exception():
                self.house.pools[other[0]].give(other[1].result())
            else:
                other[1].cancel()

        self._do(race)

    @rule(seconds=st.sampled_from((0.1, 0.5, 4.0, 20.0)))
    def wait(self, seconds: float) -> None:
        self._do(lambda: pass_time(seconds))

    @rule(latency_s=st.sampled_from((0.0, 0.2, 1.0)))
    def slow_down(self, latency_s: float) -> None:
        self.house.server.latency_s = latency_s

    @rule()
    def crash(self) -> None:
        self._do(self.house.server.crash)

    @rule()
    def come_back(self) -> None:
        self.house.server.refuses = None

    @rule(pool=pools_of)
    def tend(self, pool: int) -> None:
        self._do(lambda: self.house.pools[pool].tend(self.house.runtime.clock()))

    @rule(pool=pools_of)
    def fill(self, pool: int) -> None:
        async def fill() -> None:
            with contextlib.suppress(ConnectionRefusedError, TimeoutError):
                await self.house.pools[pool].fill(1.0)

        self._do(fill)

    @rule(pool=pools_of)
    def drain(self, pool: int) -> None:
        self._do(self.house.pools[pool].drain)

    @invariant()
    def limits_hold(self) -> None:
        assert self.house.server.most_at_once <= 5
        assert sum(pool.size for pool in self.house.pools) <= 5
        for pool in self.house.pools:
            assert 0 <= pool.size <= pool.limits.max_size
            assert pool.size == len(pool._idle) + len(pool._busy) + pool._opening
            assert 0 <= pool._opening <= MAX_OPENING

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        assert self.house.bound.waiting == sum(len(pool._waiters) for pool in self.house.pools)
        for pool in self.house.pools:
            if pool._waiters:
                assert not pool._idle
                assert not pool._may_open()

    @invariant()
    def nothing_is_lent_twice_or_dirty(self) -> None:
        lent = [
            task.result()
            for joined in self.joined
            for task in joined
            if task.done() and not task.cancelled() and not task.exception()
        ]
        out = [pooled for pool in self.house.pools for pooled in pool._busy]
        assert len(set(out)) == len(out)
        assert set(out) <= set(lent)
        for pool in self.house.pools:
            assert not any(pooled.raw.dirty for pooled in pool._idle)
            assert not set(pool._busy) & set(pool._idle)

    def teardown(self) -> None:
        async def end() -> None:
            for task in (task for joined in self.joined for task in joined):
                task.cancel()
            await settle()
            for pool in self.house.pools:
                await pool.close()
                for pooled in list(pool._busy):
                    pool.give(pooled)
                assert pool.size == 0
            assert not self.house.server.connections

        self._do(end)
        self.loop.close()


TestHistories = Histories.TestCase
TestHistories.settings = examples(40, stateful_step_count=30)
