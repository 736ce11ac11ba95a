"""Interleaved, shuffled repetitions: a noisy moment of the machine hurts every contender alike.

A ratio is taken within one repetition, where the contenders ran next to each other, and the median of those ratios is
the figure. CPU is this process's own, by `time.process_time`; the servers' is not in it.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Literal

Read = Callable[[], Awaitable[object]]
BlockingRead = Callable[[], object]
Quantity = Literal["p50_s", "cpu_s", "per_second"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one contender did in one repetition."""

    p50_s: float
    cpu_s: float
    """Of this process, per read."""
    per_second: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """A median over the repetitions, and the quartiles that tell how far to trust it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Match:
    """All samples of contenders that ran against each other, by name, in the order of the repetitions."""

    samples: Mapping[str, tuple[Sample, ...]]

    def ratio(self, name: str, base: str, quantity: Quantity) -> Ratio:
        """One contender to another."""
        pairs = zip(self.samples[name], self.samples[base], strict=True)
        ratios = [getattr(sample, quantity) / getattr(floor, quantity) for sample, floor in pairs]
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        return Ratio(median(ratios), low, high)

    def median(self, name: str, quantity: Quantity) -> float:
        """The middle of one contender's samples."""
        values: list[float] = [getattr(sample, quantity) for sample in self.samples[name]]
        return median(values)


async def play(
    contenders: Mapping[str, Read], repetitions: int, reads: int, tasks: int = 1, warm_up: int = 2
) -> Match:
    """Let `tasks` tasks share `reads` reads of each contender, `repetitions` times over in an order of chance.

    The first `warm_up` rounds are not counted: caches fill, connections open, prepared statements settle.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for repetition in range(-warm_up, repetitions):
        for name in _shuffled(contenders):
            sample = await _sample(contenders[name], reads, tasks)
            if repetition >= 0:
                samples[name].append(sample)
    return Match({name: tuple(taken) for name, taken in samples.items()})


def play_blocking(
    contenders: Mapping[str, BlockingRead], repetitions: int, reads: int, warm_up: int = 2
) -> Match:
    """The same for one thread that blocks."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for repetition in range(-warm_up, repetitions):
        for name in _shuffled(contenders):
            sample = _blocking_sample(contenders[name], reads)
            if repetition >= 0:
                samples[name].append(sample)
    return Match({name: tuple(taken) for name, taken in samples.items()})


def _shuffled(contenders: Mapping[str, object]) -> list[str]:
    return random.sample(list(contenders), len(contenders))


async def _sample(read: Read, reads: int, tasks: int) -> Sample:
    latencies: list[float] = []
    gc.collect()
    cpu_s, began_s = process_time(), perf_counter()
    if tasks == 1:
        await _read_on(read, reads, latencies)
    else:
        await asyncio.gather(*(_read_on(read, reads // tasks, latencies) for _ in range(tasks)))
    return _summary(latencies, process_time() - cpu_s, perf_counter() - began_s)


async def _read_on(read: Read, reads: int, latencies: list[float]) -> None:
    for _ in range(reads):
        began_s = perf_counter()
        await read()
        latencies.append(perf_counter() - began_s)


def _blocking_sample(read: BlockingRead, reads: int) -> Sample:
    latencies: list[float] = []
    gc.collect()
    cpu_s, began_s = process_time(), perf_counter()
    for _ in range(reads):
        start_s = perf_counter()
        read()
        latencies.append(perf_counter() - start_s)
    return _summary(latencies, process_time() - cpu_s, perf_counter() - began_s)


def _summary(latencies: list[float], cpu_s: float, wall_s: float) -> Sample:
    return Sample(median(latencies), cpu_s / len(latencies), len(latencies) / wall_s)
