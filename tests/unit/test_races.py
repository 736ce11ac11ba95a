"""Races among tasks: who wins, and what becomes of the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any

import pytest

from pgfleet.ports import Race
from pgfleet.runtimes import TaskRuntime, ThreadRuntime, drive
from pgfleet.runtimes.threads import _Worker
from tests.fakes import VirtualRuntime, in_virtual_time, pass_time, settle

DELAY_S = 0.01


class Attempt:
    """Something that takes its time, and notes how it ends."""

    def __init__(self, spent_s: float, answer: str | Exception) -> None:
        self.spent_s = spent_s
        self.answer = answer
        self.end = "not begun"

    async def run(self) -> str:
        self.end = "running"
        try:
            for _ in range(2):
                await pass_time(self.spent_s / 2)
        except BaseException as error:
            self.end = type(error).__name__
            raise
        self.end = "done"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Second:
    """A rival."""

    def __init__(self, attempt: Attempt | None) -> None:
        self.attempt = attempt
        self.cuts: list[str] = []

    def begin(self) -> Coroutine[Any, Any, str] | None:
        return self.attempt.run() if self.attempt else None

    def cut(self) -> None:
        self.cuts.append("second")

    def cut_first(self) -> None:
        self.cuts.append("first")

    def first_lost(self, end: Awaitable[None]) -> None:
        self.ending = asyncio.ensure_future(end)


def race(first: Attempt, second: Attempt | None) -> tuple[Race[str], Second]:
    rival = Second(second)
    return VirtualRuntime().race(first.run(), DELAY_S, rival), rival


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def test_a_second_is_begun_by_a_thread_that_ends_with_the_runtime() -> None:
    class Answers(Second):
        async def _answer(self) -> str:
            return "second"

        def begin(self) -> Coroutine[Any, Any, str]:
            return self._answer()

    async def hangs() -> str:
        await asyncio.Event().wait()
        return "first"

    runtime = TaskRuntime()
    assert await runtime.race(hangs(), DELAY_S, Answers(None)) == "second"
    assert "pgfleet watchdog" in _threads()
    await runtime.close(1.0)
    assert "pgfleet watchdog" not in _threads()


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@in_virtual_time
async def test_a_first_that_is_in_time_has_no_rival() -> None:
    first, second = Attempt(0.005, "first"), Attempt(0.001, "second")
    run, _ = race(first, second)
    assert await run == "first"
    await pass_time(1.0)
    assert second.end == "not begun"
    assert not run.by_second


@in_virtual_time
async def test_a_late_first_is_beaten_and_ended() -> None:
    first, second = Attempt(10.0, "first"), Attempt(0.005, "second")
    run, rival = race(first, second)
    began_s = now_s()
    assert await run == "second"
    assert now_s() - began_s == pytest.approx(DELAY_S + 0.005, abs=0.002)
    await rival.ending
    assert (first.end, run.by_second, run.first_error, rival.cuts) == ("CancelledError", True, None, [])
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


@in_virtual_time
async def test_a_short_delay_does_not_wait_for_a_long_one_that_was_armed_before() -> None:
    races = VirtualRuntime()
    slow = asyncio.ensure_future(_wait_for(races.race(Attempt(20.0, "slow").run(), 5.0, Second(None))))
    await settle()
    began_s = now_s()
    quick = races.race(Attempt(10.0, "first").run(), DELAY_S, Second(Attempt(0.005, "second")))
    assert await quick == "second"
    assert now_s() - began_s == pytest.approx(DELAY_S + 0.005, abs=0.002)
    assert await slow == "slow"


async def _wait_for(run: Race[str]) -> str:
    return await run


@in_virtual_time
async def test_a_first_that_comes_after_all_ends_the_second() -> None:
    first, second = Attempt(0.02, "first"), Attempt(10.0, "second")
    run, _ = race(first, second)
    assert await run == "first"
    await settle()
    assert second.end == "CancelledError"


@in_virtual_time
async def test_both_at_the_same_moment_give_one_answer() -> None:
    first, second = Attempt(0.02, "first"), Attempt(0.01, "second")
    run, _ = race(first, second)
    assert await run in ("first", "second")
    await pass_time(1.0)


@in_virtual_time
async def test_a_first_that_fails_leaves_it_to_the_second() -> None:
    broken = OSError("broken")
    run, rival = race(Attempt(0.02, broken), Attempt(0.05, "second"))
    assert await run == "second"
    assert run.by_second
    assert run.first_error is broken
    assert rival.cuts == []


@in_virtual_time
async def test_a_first_that_fails_alone_or_with_the_second_raises_its_own_error() -> None:
    for second in (None, Attempt(0.005, ValueError("second")), Attempt(0.05, ValueError("second"))):
        run, _ = race(Attempt(0.02, OSError("first")), second)
        with pytest.raises(OSError, match="first"):
            await run
        assert not run.by_second


@in_virtual_time
async def test_a_second_that_fails_changes_nothing() -> None:
    run, _ = race(Attempt(0.05, "first"), Attempt(0.001, ValueError("second")))
    assert await run == "first"


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.015, 0.03])
@in_virtual_time
async def test_a_cancelled_caller_ends_both(after_s: float) -> None:
    first, second = Attempt(10.0, "first"), Attempt(0.5, "second")
    run, _ = race(first, second)

    async def use() -> str:
        return await run

    task = asyncio.ensure_future(use())
    await pass_time(after_s)
    task.cancel()
    await asyncio.wait([task])
    await settle()
    assert task.cancelled()
    assert first.end in ("CancelledError", "not begun")
    assert second.end in ("CancelledError", "not begun")


@in_virtual_time
async def test_a_caller_cancelled_while_the_second_wins_is_cancelled() -> None:
    first, second = Attempt(10.0, "first"), Attempt(0.5, "second")
    run, _ = race(first, second)

    async def use() -> str:
        return await run

    task = asyncio.ensure_future(use())
    await pass_time(0.2)
    assert isinstance(run._second, asyncio.Task)  # type: ignore[attr-defined]
    run._second.add_done_callback(lambda _: task.cancel())  # type: ignore[attr-defined]
    await asyncio.wait([task])
    assert task.cancelled()


@in_virtual_time
async def test_a_caller_who_swallowed_a_cancellation_before_gets_his_answer() -> None:
    async def use() -> str:
        try:
            await pass_time(10.0)
        except asyncio.CancelledError:
            run, _ = race(Attempt(10.0, "first"), Attempt(0.1, "second"))
            return await run
        raise AssertionError

    task = asyncio.ensure_future(use())
    await settle()
    task.cancel()
    assert await task == "second"


@in_virtual_time
async def test_many_races_share_one_timer() -> None:
    runtime = VirtualRuntime()
    seconds = [Attempt(0.001, "second") for _ in range(100)]
    delays = [0.002 * (1 + n % 7) for n in range(100)]
    runs = [
        runtime.race(Attempt(10.0, "first").run(), delay_s, Second(second))
        for delay_s, second in zip(delays, seconds, strict=True)
    ]

    async def use(run: Race[str]) -> float:
        began_s = now_s()
        await run
        return now_s() - began_s

    spent = await asyncio.gather(*map(use, runs))
    for spent_s, delay_s in zip(spent, delays, strict=True):
        assert delay_s <= spent_s <= delay_s + 0.004
    await runtime.close(1.0)


# threads: without a clock, the second begins when the test says so


class Step:
    """An attempt among threads that ends when it is told to."""

    def __init__(self, runtime: ThreadRuntime) -> None:
        self.told = runtime.signal()
        self.begun = runtime.signal()
        self.outcome: str | Exception = "unset"

    def tell(self, outcome: str | Exception) -> None:
        self.outcome = outcome
        self.told.set()

    async def run(self) -> str:
        self.begun.set()
        await self.told.wait(30.0)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class ThreadSecond:
    def __init__(self, first: Step, second: Step) -> None:
        self.first, self.second = first, second

    def begin(self) -> Coroutine[Any, Any, str]:
        return self.second.run()

    def cut(self) -> None:
        self.second.tell(OSError("cut"))

    def cut_first(self) -> None:
        self.first.tell(OSError("cut"))

    def first_lost(self, end: Awaitable[None]) -> None:
        raise AssertionError("that is for tasks")


def thread_race(told: dict[str, str | Exception]) -> tuple[str, bool, Exception | None]:
    """Both are under way when, in this order, they are told how to end."""
    runtime = ThreadRuntime()
    first, second = Step(runtime), Step(runtime)
    run = runtime.race(first.run(), 0.0, ThreadSecond(first, second))

    async def tell() -> None:
        await second.begun.wait(30.0)
        for who, outcome in told.items():
            (first if who == "first" else second).tell(outcome)
            while who == "first" and isinstance(outcome, Exception) and run.first_error is None:
                await runtime.signal().wait(0.001)

    runtime.spawn(tell(), "tell")
    try:
        return drive(_result(run)), run.by_second, run.first_error
    finally:
        drive(runtime.close(10.0))


async def _result(run: Race[str]) -> str:
    return await run


def test_among_threads_the_first_that_answers_wins() -> None:
    assert thread_race({"second": "second"}) == ("second", True, None)
    assert thread_race({"first": "first"}) == ("first", False, None)


def test_among_threads_a_first_that_fails_leaves_it_to_the_second() -> None:
    broken = OSError("broken")
    assert thread_race({"first": broken, "second": "second"}) == ("second", True, broken)
    with pytest.raises(OSError, match="broken"):
        thread_race({"first": broken, "second": ValueError("second")})


def test_among_threads_a_second_that_fails_changes_nothing() -> None:
    assert thread_race({"second": ValueError("second"), "first": "first"}) == ("first", False, None)


def test_among_threads_nobody_waits_for_a_second_that_found_no_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = ThreadRuntime()
    first, tried = Step(runtime), threading.Event()

    def start(thread: threading.Thread) -> None:
        tried.set()
        raise RuntimeError("can't start new thread")

    async def fails() -> str:
        assert tried.wait(30.0)
        raise OSError("broken")

    run = runtime.race(fails(), 0.0, ThreadSecond(first, Step(runtime)))
    monkeypatch.setattr(_Worker, "start", start)
    with pytest.raises(OSError, match="broken"):
        drive(_result(run))
    drive(runtime.close(10.0))
    assert "a call of the watchdog failed" in caplog.text
