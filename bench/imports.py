"""How long a fresh process takes to import pgfleet, the interpreter's own start included, with compiled bytecode."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from bench.figures import Figure

LIMIT_MS = 100.0
STATEMENTS = {
    "the interpreter alone": "pass",
    "import pgfleet": "import pgfleet",
    "... and AsyncReplicaRouter": "import pgfleet; pgfleet.AsyncReplicaRouter",
    "... and ReplicaRouter": "import pgfleet; pgfleet.ReplicaRouter",
}


def run(*, quick: bool) -> list[Figure]:
    """Start processes, in an order of chance."""
    times: dict[str, list[float]] = {what: [] for what in STATEMENTS}
    with TemporaryDirectory() as cache:
        environ = _environ(cache)
        for statement in STATEMENTS.values():
            _process_ms(statement, environ)
        for _ in range(3 if quick else 10):
            for what in random.sample(list(STATEMENTS), len(STATEMENTS)):
                times[what].append(_process_ms(STATEMENTS[what], environ))
    return [_figure(what, median(taken)) for what, taken in times.items()]


def _environ(cache: str) -> dict[str, str]:
    """An environment in which bytecode is kept, wherever the sources are."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": cache}


def _figure(what: str, took_ms: float) -> Figure:
    return Figure(what, took_ms, "ms", LIMIT_MS if "pgfleet" in STATEMENTS[what] else None)


def _process_ms(statement: str, environ: Mapping[str, str]) -> float:
    began_s = perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environ)
    return (perf_counter() - began_s) * 1000
