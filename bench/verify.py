"""How long it takes from nothing to a primary and three replicas that have passed the go-live checklist.

Each step is a command, as a person types it: a process of its own, with all that it imports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from bench.figures import Figure
from pgfleet.local import LocalFleet
from pgfleet.local.account import Account
from pgfleet.local.layout import temporary_directory

LIMIT_S = 6.0
COMMAND = (sys.executable, "-c", "from pgfleet.cli import main; main()")


class Took(NamedTuple):
    """One fleet, from nothing."""

    up_s: float
    verify_s: float
    drill_s: float
    """The same checklist with its drills."""
    passed: int

    @property
    def total_s(self) -> float:
        """From nothing to verified."""
        return self.up_s + self.verify_s


def run(*, quick: bool) -> list[Figure]:
    """Make some fleets, one after another."""
    took = [_once() for _ in range(1 if quick else 5)]
    detail = f"{min(t.passed for t in took)} items passed; of {len(took)}"
    return [
        Figure("from nothing to verified", median(t.total_s for t in took), "s", LIMIT_S, detail=detail),
        Figure("the slowest of them", max(t.total_s for t in took), "s"),
        Figure("the same, drills included", median(t.up_s + t.drill_s for t in took), "s"),
        Figure("pgfleet local up", median(t.up_s for t in took), "s"),
        Figure("pgfleet verify", median(t.verify_s for t in took), "s"),
        Figure("pgfleet verify --drill", median(t.drill_s for t in took), "s"),
    ]


def _once() -> Took:
    directory = temporary_directory(Account.choose())
    place = ("--directory", str(directory))
    try:
        up_s, told = _timed("local", "up", *place)
        environ = os.environ | told["environment"]
        verify_s, report = _timed("verify", environ=environ)
        drill_s, _ = _timed("verify", "--drill", *place, environ=environ)
    finally:
        LocalFleet.remove(directory)
        with suppress(FileNotFoundError):
            directory.rmdir()
    return Took(up_s, verify_s, drill_s, sum(item["outcome"] == "passed" for item in report["items"]))


def _timed(*command: str, environ: Mapping[str, str] | None = None) -> tuple[float, Any]:
    """How long a command took, and its JSON. It must find nothing."""
    began_s = perf_counter()
    done = subprocess.run([*COMMAND, *command, "--json"], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env=environ)  # fmt: skip
    return perf_counter() - began_s, json.loads(done.stdout)
