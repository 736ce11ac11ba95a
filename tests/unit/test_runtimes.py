from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from pgfleet.runtimes import TaskRuntime, ThreadRuntime, ThreadSignal, Watchdog, drive
from pgfleet.runtimes.watchdog import _Due
from tests.fakes import VirtualRuntime, in_virtual_time, pass_time, settle

PATIENCE_S = 10.0
"""Of real threads, which need milliseconds."""


# coroutines that never suspend


async def _sum(a: int, b: int) -> int:
    return a + b


def test_a_coroutine_that_never_suspends_is_driven_to_its_end() -> None:
    assert drive(_sum(1, 2)) == 3


def test_what_it_raises_is_raised() -> None:
    async def fails() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        drive(fails())


def test_one_that_suspends_is_refused_and_cleans_up() -> None:
    cleaned = []

    async def suspends() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            cleaned.append(True)

    with pytest.raises(RuntimeError, match="blocking port suspended"):
        drive(suspends())
    assert cleaned == [True]


# signals among tasks


@in_virtual_time
async def test_a_signal_that_is_set_wakes_who_waits_and_who_comes_later() -> None:
    signal = VirtualRuntime().signal()
    waiting = asyncio.ensure_future(signal.wait(10.0))
    await settle()
    signal.set()
    assert await waiting
    assert await signal.wait(0.0)


@in_virtual_time
async def test_a_signal_can_be_waited_for_again_and_again() -> None:
    runtime = VirtualRuntime()
    signal = runtime.signal()
    for turn in range(1, 4):
        assert not await signal.wait(2.0)
        assert runtime.clock() == pytest.approx(1000.0 + 2.0 * turn)
    signal.set()
    assert await signal.wait(2.0)


@in_virtual_time
async def test_a_wait_that_was_cancelled_leaves_the_signal_as_it_was() -> None:
    signal = VirtualRuntime().signal()
    waiting = asyncio.ensure_future(signal.wait(10.0))
    await settle()
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    assert not await signal.wait(1.0)
    signal.set()
    assert await signal.wait(1.0)


@in_virtual_time
async def test_what_was_spawned_is_waited_for_and_then_ended() -> None:
    runtime = VirtualRuntime()
    ended: list[str] = []

    async def work(name: str, seconds: float) -> None:
        try:
            await pass_time(seconds)
            ended.append(name)
        except asyncio.CancelledError:
            ended.append(f"{name} was cancelled")
            raise

    runtime.spawn(work("short", 1.0), "short")
    runtime.spawn(work("long", 100.0), "long")
    await runtime.close(2.0)
    assert ended == ["short", "long was cancelled"]
    assert runtime.clock() == pytest.approx(1002.0)
    await runtime.close(2.0)


@in_virtual_time
async def test_a_call_that_is_due_later_can_be_forgotten() -> None:
    runtime = VirtualRuntime()
    calls: list[str] = []
    runtime.call_later(1.0, lambda: calls.append("made"))
    runtime.call_later(1.0, lambda: calls.append("cancelled")).cancel()
    await pass_time(2.0)
    assert calls == ["made"]


@in_virtual_time
async def test_no_wait_is_shorter_than_it_says_though_others_are_awake() -> None:
    """Else whoever waits for a deadline that is a picosecond ahead finds it ahead still, and waits again, for ever."""
    clock, others = VirtualRuntime().clock, asyncio.ensure_future(_turns(3))
    due_s = clock() + 1e-12
    assert due_s > clock()
    await pass_time(due_s - clock())
    assert clock() >= due_s
    await others


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_tasks_need_a_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        TaskRuntime()


# signals among threads


def test_a_threads_signal_is_kept_for_who_comes_later() -> None:
    signal = ThreadSignal()
    assert not drive(signal.wait(0.0))
    signal.set()
    assert drive(signal.wait(0.0))
    assert drive(signal.wait(0.0))


# the watchdog


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog()
    yield watchdog
    watchdog.close()


def test_a_due_call_happens_once() -> None:
    calls: list[int] = []
    due = _Due(lambda: calls.append(1))
    due.happen()
    due.happen()
    assert calls == [1]


def test_a_cancelled_call_never_happens() -> None:
    calls: list[int] = []
    due = _Due(lambda: calls.append(1))
    due.cancel()
    due.happen()
    assert not calls


def test_cancelling_waits_for_a_call_that_is_under_way() -> None:
    """Else it could sever a connection that has another borrower by then."""
    under_way, may_end, cancelled = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        under_way.set()
        assert may_end.wait(PATIENCE_S)
        assert not cancelled.is_set()

    def cancel() -> None:
        due.cancel()
        cancelled.set()

    due = _Due(call)
    threads = [threading.Thread(target=due.happen), threading.Thread(target=cancel)]
    threads[0].start()
    assert under_way.wait(PATIENCE_S)
    threads[1].start()
    may_end.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert cancelled.is_set()


def test_calls_are_made_in_the_order_of_their_time(watchdog: Watchdog) -> None:
    made: list[str] = []
    done = threading.Event()
    watchdog.call_later(0.02, done.set)
    watchdog.call_later(0.01, lambda: made.append("second"))
    watchdog.call_later(0.0, lambda: made.append("first"))
    assert done.wait(PATIENCE_S)
    assert made == ["first", "second"]


def test_a_call_that_fails_does_not_end_the_watchdog(
    watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()
    watchdog.call_later(0.0, lambda: [][0])
    watchdog.call_later(0.0, done.set)
    assert done.wait(PATIENCE_S)
    assert "a call of the watchdog failed" in caplog.text


def test_a_closed_watchdog_makes_no_call_and_leaves_no_thread() -> None:
    watchdog = Watchdog()
    calls: list[int] = []
    watchdog.call_later(3600.0, lambda: calls.append(1))
    thread = watchdog._thread
    watchdog.close()
    assert thread is not None
    assert not thread.is_alive()
    watchdog.call_later(0.0, lambda: calls.append(2))
    assert not calls


def test_an_unused_watchdog_has_no_thread(watchdog: Watchdog) -> None:
    assert watchdog._thread is None


def test_what_was_spawned_in_threads_is_waited_for() -> None:
    runtime = ThreadRuntime()
    ended: list[str] = []

    async def work() -> None:
        ended.append(threading.current_thread().name)

    runtime.spawn(work(), "watch replica-1")
    drive(runtime.close(PATIENCE_S))
    assert ended == ["pgfleet watch replica-1"]


def test_a_lock_can_be_taken_again_by_its_holder() -> None:
    lock = ThreadRuntime().lock()
    with lock, lock:
        pass
