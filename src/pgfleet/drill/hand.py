"""A second process, in which the faults are caused, so that causing them costs the callers nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from pgfleet.drill.clients import HOT_TABLE
from pgfleet.errors import LocalFleetError
from pgfleet.local import FaultProxy, LocalFleet

PROMOTION_PAUSE_S = 0.01
LOOK_PAUSE_S = 0.1
LOOK_TIMEOUT_S = 1.0


Address = tuple[str, int]


class Hand:
    """Does things to one local fleet, or to the network before any fleet, one at a time."""

    def __init__(self, directory: Path | None, executor: ProcessPoolExecutor) -> None:
        self._directory = directory
        self._executor = executor

    async def do(self, verb: Callable[..., Any], *args: Any) -> Any:
        """Call a function of this module, with the fleet's directory before its arguments."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, verb, self._directory, *args)

    async def each(self, verb: str, names: Sequence[str], *args: Any) -> None:
        """Call a method of the fleet for each of the nodes."""
        await self.do(on_fleet, verb, tuple(names), args)


@contextmanager
def hand(directory: Path | None) -> Iterator[Hand]:
    """The process, ready to act."""
    with other_process() as executor:
        yield Hand(directory, executor)


@contextmanager
def other_process(prepare: Callable[..., None] | None = None, *args: Any) -> Iterator[ProcessPoolExecutor]:
    """A second process, which has called `prepare(*args)`. Ctrl-C is the first one's alone: this one ends with it."""
    spawn = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(1, mp_context=spawn, initializer=prepare, initargs=args)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        executor.submit(_ready)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with executor:
        executor.submit(_ready).result()
        yield executor


def _ready() -> None:
    """Nothing: the process is there once it has done it."""


# what is done in the second process

_proxies: dict[str, FaultProxy] = {}


def on_fleet(directory: Path, verb: str, names: Sequence[str], args: Sequence[Any] = ()) -> None:
    """A method of the fleet, for each of the nodes."""
    for name in names:
        getattr(LocalFleet.attach(directory), verb)(name, *args)


def pause_replay(directory: Path, names: Sequence[str]) -> None:
    """Let replicas replay nothing any more."""
    for name in names:
        LocalFleet.attach(directory).lag(name, paused=True)


def promote(directory: Path, name: str) -> float:
    """Promote, and return the moment at which the node was first seen to be no standby. The clock is the machine's."""
    fleet = LocalFleet.attach(directory)
    promotion = threading.Thread(target=fleet.promote, args=(name,))
    promotion.start()
    try:
        while promotion.is_alive():
            with suppress(LocalFleetError):
                if fleet.sql(name, "select pg_is_in_recovery()", LOOK_TIMEOUT_S) == [("f",)]:
                    break
            sleep(PROMOTION_PAUSE_S)
        return monotonic()
    finally:
        promotion.join()


def open_proxies(_: Path | None, targets: Mapping[str, Address]) -> dict[str, int]:
    """Have a proxy before each of these servers; the ports of the proxies."""
    for name, (host, port) in targets.items():
        _proxies[name] = FaultProxy(host, port).__enter__()
    return {name: _proxies[name].port for name in targets}


def close_proxies(_: Path | None) -> None:
    """Let them go."""
    while _proxies:
        _proxies.popitem()[1].__exit__(None, None, None)


def on_proxies(_: Path | None, verb: str, names: Sequence[str]) -> None:
    """A method of the proxies before the nodes."""
    for name in names:
        getattr(_proxies[name], verb)()


def vacuum(directory: Path, primary: str, seconds: float, every_s: float) -> None:
    """Update a table and vacuum it at this pace: replay cancels who still reads the old rows."""
    due_s = monotonic()
    end_s = due_s + seconds
    fleet = LocalFleet.attach(directory)
    while monotonic() < end_s:
        fleet.sql(primary, f"update {HOT_TABLE} set x = x + 1")  # noqa: S608 (a constant)
        fleet.sql(primary, f"vacuum {HOT_TABLE}")
        due_s += every_s
        sleep(max(0.0, due_s - monotonic()))


def runs_of(directory: Path, names: Sequence[str], sql: str, seconds: float) -> int:
    """How often a statement began to run on these nodes, by looking for so long at what they do."""
    end_s, seen = monotonic() + seconds, set[tuple[str, ...]]()
    fleet = LocalFleet.attach(directory)
    look = f"select pid, query_start from pg_stat_activity where state = 'active' and query = '{sql}'"  # noqa: S608
    while monotonic() < end_s:
        for name in names:
            with suppress(LocalFleetError):
                seen.update((name, *row) for row in fleet.sql(name, look, LOOK_TIMEOUT_S))
        sleep(LOOK_PAUSE_S)
    return len(seen)
