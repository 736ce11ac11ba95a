"""Many histories, on every core: `python -m tests.sim 100000`. Prints those that go wrong, and keeps their seeds."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.sim.history import History, replay
from tests.sim.seeds import keep

BATCH = 50


def batch(seeds: range) -> list[History]:
    """Live these, and return those that went wrong."""
    return [history for seed in seeds if (history := replay(seed)).violation]


def main() -> int:
    """0: every promise held."""
    ask = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    ask.add_argument("seeds", type=int, help="how many histories")
    ask.add_argument("--first", type=int, default=0, help="the first seed")
    ask.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    ask.add_argument("--idle", action="store_true", help="only on what others leave of the cores")
    wanted = ask.parse_args()
    if wanted.idle:
        _step_back()
    if wanted.seeds == 1:
        print(replay(wanted.first))
    broken = [history for some in _broken(wanted) for history in some]
    for history in broken:
        assert history.violation
        keep(history.seed, f"{history.violation.invariant.name}: {history.violation.invariant}")
    print(f"\r{len(broken)} of {wanted.seeds} histories broke a promise")
    return bool(broken)


def _step_back() -> None:
    """Whoever else wakes takes the core at once; by niceness alone he would wait for the end of a slice."""
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)


def _broken(wanted: argparse.Namespace) -> Iterator[list[History]]:
    end, begun_s = wanted.first + wanted.seeds, time.monotonic()
    batches = [range(first, min(first + BATCH, end)) for first in range(wanted.first, end, BATCH)]
    with ProcessPoolExecutor(wanted.jobs) as workers:
        for seeds, broken in zip(batches, workers.map(batch, batches), strict=True):
            if sys.stderr.isatty():
                done = seeds.stop - wanted.first
                print(
                    f"\r{done} of {wanted.seeds}, {time.monotonic() - begun_s:.0f} s", end="", file=sys.stderr
                )
            for history in broken:
                print(f"\n{history}\n")
            yield broken


if __name__ == "__main__":
    sys.exit(main())
