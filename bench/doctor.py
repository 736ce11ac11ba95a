"""How long `pgfleet doctor` takes, as a person calls it: a process from its start to its last line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from time import perf_counter

from bench.figures import Figure
from pgfleet.local import LocalFleet
from tests.dropping import dropping_port

COMMAND = [sys.executable, "-c", "from pgfleet.cli import main; main()", "doctor", "--json"]
WELL_LIMIT_S = 1.5
UNREACHABLE_LIMIT_S = 3.0


def run(*, quick: bool) -> list[Figure]:
    """A primary and three replicas: all well, one frozen, one behind what drops every packet."""
    times = 1 if quick else 9
    with LocalFleet.temporary(replicas=3) as fleet:
        environ = fleet.environ()
        figures = [*_figures("four nodes that are well", environ, times, WELL_LIMIT_S)]
        fleet.freeze("replica-2")
        figures += _figures("one of them is frozen", environ, times, UNREACHABLE_LIMIT_S)
        fleet.thaw("replica-2")
        with dropping_port() as port:
            dropped = environ | {"READ_REPLICA_2_CONNECTION_STRING": f"postgresql://a:b@127.0.0.1:{port}/c"}
            figures += _figures("packets to one of them are dropped", dropped, times, UNREACHABLE_LIMIT_S)
        return figures


def _figures(what: str, environ: dict[str, str], times: int, limit_s: float) -> Iterator[Figure]:
    taken = [_seconds(environ) for _ in range(times)]
    yield Figure(f"pgfleet doctor, {what}", median(taken), "s", limit_s)
    yield Figure("the slowest of them", max(taken), "s", limit_s, detail=f"of {times}")


def _seconds(environ: dict[str, str]) -> float:
    began_s = perf_counter()
    subprocess.run(COMMAND, env=os.environ | environ, check=False, stdout=subprocess.DEVNULL)
    return perf_counter() - began_s
