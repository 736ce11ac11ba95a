"""A call is noted whatever becomes of it."""

from __future__ import annotations

import asyncio

import pytest

from pgfleet.drill.calls import Answer, Kind
from pgfleet.drill.load import Load


async def test_an_answer_is_noted_with_its_times() -> None:
    async def ask() -> Answer:
        return Answer("replica-1", 7)

    load = Load()
    await load.call(Kind.FETCH, 3, ask, due_s=0.0)
    (call,) = load.calls
    assert (call.kind, call.caller, call.answer, call.error) == (Kind.FETCH, 3, Answer("replica-1", 7), "")
    assert 0.0 == call.due_s < call.began_s <= call.ended_s


async def test_an_error_is_noted_by_its_class_and_first_line() -> None:
    async def ask() -> Answer:
        raise ConnectionError("it is gone\nhint: wait")

    load = Load()
    await load.call(Kind.WRITE, 0, ask, due_s=0.0)
    (call,) = load.calls
    assert (call.answer, call.node, call.error, call.message) == (None, None, "ConnectionError", "it is gone")


async def test_a_call_that_is_given_up_counts_as_never_answered() -> None:
    async def ask() -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    load = Load()
    calling = asyncio.create_task(load.call(Kind.FETCH, 0, ask, due_s=0.0))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert load.calls[0].error == "NeverAnswered"
