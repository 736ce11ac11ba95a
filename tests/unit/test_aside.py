from __future__ import annotations

import asyncio
import threading

import pytest

from pgfleet.aside import Abandoned, Aside
from pgfleet.runtimes import ThreadRuntime, drive
from tests.fakes import VirtualRuntime, in_virtual_time, pass_time, settle


async def soon() -> str:
    await pass_time(1.0)
    return "done"


@in_virtual_time
async def test_its_caller_gets_what_the_work_returns_or_raises() -> None:
    late: list[str] = []
    assert await Aside(VirtualRuntime(), soon, late.append, "work").result(2.0) == "done"

    async def fails() -> str:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        await Aside(VirtualRuntime(), fails, late.append, "work").result(2.0)
    assert late == []


@in_virtual_time
@pytest.mark.parametrize("how", ["timeout", "abandon", "cancel"])
async def test_who_leaves_ends_the_task(how: str) -> None:
    late: list[str] = []
    aside = Aside(VirtualRuntime(), soon, late.append, "work")
    waiting = asyncio.ensure_future(aside.result(0.5 if how == "timeout" else 5.0))
    await pass_time(0.25)
    if how == "abandon":
        aside.abandon()
    elif how == "cancel":
        waiting.cancel()
    await asyncio.wait([waiting])
    expected = {"timeout": TimeoutError, "abandon": Abandoned, "cancel": asyncio.CancelledError}
    with pytest.raises(expected[how]):
        waiting.result()
    await pass_time(2.0)
    assert late == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_what_was_ready_as_its_caller_was_cancelled_is_not_lost() -> None:
    late: list[str] = []
    ready = asyncio.get_running_loop().create_future()

    async def work() -> str:
        await ready
        return "done"

    waiting = asyncio.ensure_future(Aside(VirtualRuntime(), work, late.append, "work").result(5.0))
    await settle()
    ready.set_result(None)
    asyncio.get_running_loop().call_soon(waiting.cancel)
    await asyncio.wait([waiting])
    await settle()
    assert late == (["done"] if waiting.cancelled() else [])


def test_a_thread_goes_on_and_hands_over_what_comes_late() -> None:
    runtime, go_on, handed = ThreadRuntime(), threading.Event(), threading.Event()
    late: list[str] = []

    async def work() -> str:
        go_on.wait(30.0)
        return "done"

    def take(result: str) -> None:
        late.append(result)
        handed.set()

    aside = Aside(runtime, work, take, "work")
    aside.abandon()
    with pytest.raises(Abandoned):
        drive(aside.result(30.0))
    go_on.set()
    assert handed.wait(30.0)
    assert late == ["done"]
    drive(runtime.close(30.0))


@in_virtual_time
async def test_work_that_has_not_begun_when_its_caller_leaves_comes_to_its_end() -> None:
    """Cancelled before its first step it would do nothing: not even what it must do at its end."""
    late: list[str] = []
    aside = Aside(VirtualRuntime(), soon, late.append, "work")
    aside.abandon()
    with pytest.raises(Abandoned):
        await aside.result(5.0)
    await pass_time(2.0)
    assert late == ["done"]
