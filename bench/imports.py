"""How long a fresh process takes to import pgfleet, the interpreter's own start included, with compiled bytecode."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

from bench.figures import Figure

LIMIT_MS = 100.0
STATEMENTS = {
    "the interpreter alone": "pass",
    "import pgfleet": "import pgfleet",
    "... and AsyncReplicaRouter": "import pgfleet; pgfleet.AsyncReplicaRouter",
    "... and ReplicaRouter": "import pgfleet; pgfleet.ReplicaRouter",
}


class Took(NamedTuple):
    """One process, from its start to its end."""

    wall_ms: float
    cpu_ms: float


def run(*, quick: bool) -> list[Figure]:
    """Start processes, in an order of chance."""
    times: dict[str, list[Took]] = {what: [] for what in STATEMENTS}
    with TemporaryDirectory() as cache:
        environ = _environ(cache)
        for statement in STATEMENTS.values():
            _process(statement, environ)
        for _ in range(3 if quick else 10):
            for what in random.sample(list(STATEMENTS), len(STATEMENTS)):
                times[what].append(_process(STATEMENTS[what], environ))
    return [_figure(what, taken) for what, taken in times.items()]


def _environ(cache: str) -> dict[str, str]:
    """An environment in which bytecode is kept, wherever the sources are."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": cache}


def _figure(what: str, taken: list[Took]) -> Figure:
    limit = LIMIT_MS if "pgfleet" in STATEMENTS[what] else None
    cpu_ms = median(took.cpu_ms for took in taken)
    return Figure(what, median(took.wall_ms for took in taken), "ms", limit, detail=f"{cpu_ms:.0f} ms of CPU")


def _process(statement: str, environ: Mapping[str, str]) -> Took:
    before, began_s = _children_cpu_s(), perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environ)
    return Took((perf_counter() - began_s) * 1000, (_children_cpu_s() - before) * 1000)


def _children_cpu_s() -> float:
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
