from __future__ import annotations

import asyncio

import pytest

from pgfleet.testing.virtual import VirtualLoop, pass_time, run


async def order(count: int = 8) -> list[int]:
    done: list[int] = []

    async def note(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    await asyncio.gather(*(note(number) for number in range(count)))
    return done


def test_without_a_seed_callbacks_keep_their_order() -> None:
    assert run(order()) == [*range(8)]


def test_a_seed_is_an_order_of_its_own() -> None:
    """Rests on `_ready`, asyncio's own name: where a Python has another, this is red."""
    orders = [tuple(run(order(), seed)) for seed in range(10)]
    assert orders == [tuple(run(order(), seed)) for seed in range(10)]
    assert len(set(orders)) > 5
    assert all(sorted(each) == [*range(8)] for each in orders)


def test_time_passes_only_when_all_wait_for_it() -> None:
    async def hours() -> float:
        await pass_time(1800.0)
        return asyncio.get_running_loop().time() - VirtualLoop.BEGIN_S

    assert run(hours(), seed=1) == 1800.0


def test_who_waits_for_nothing_is_told() -> None:
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(AssertionError, match="never comes"):
        run(forever())
