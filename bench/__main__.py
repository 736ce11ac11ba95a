"""`python -m bench`: the list of benchmarks; `python -m bench NAME`: runs one. Exit code 1 when a limit is missed."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from bench.figures import as_json, show
from bench.machine import machine

BENCHMARKS = {
    "overhead": ("select 1 against the drivers' own pools and hasql", "bench.overhead"),
    "fake": ("acquire and release over drivers that do nothing", "bench.fake"),
    "import": ("import pgfleet in a fresh process", "bench.imports"),
    "faults": ("the drills under load, against hasql: errors, gaps, return", "bench.faults"),
    "hedging": ("second reads: what it costs to be ready, and a frozen replica", "bench.hedging"),
    "consistency": (
        "reads of what was just written, against the primary alone, pinning, hasql",
        "bench.consistency",
    ),
    "doctor": ("pgfleet doctor on four nodes: well, and with one that cannot be asked", "bench.doctor"),
    "local": ("a primary and three replicas from nothing", "bench.local"),
    "selfhosted": ("two replicas over SSH on hosts of their own", "bench.selfhosted"),
    "provision": ("the same by a file, as it is typed, to verified", "bench.provision"),
    "verify": ("the same by the command line, and the go-live checklist over it", "bench.verify"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; the exit code."""
    options = _parser().parse_args(arguments)
    if options.benchmark is None:
        print("\n".join(f"{name:11} {about}" for name, (about, _) in BENCHMARKS.items()))
        return 0
    before = machine()
    figures = import_module(BENCHMARKS[options.benchmark][1]).run(quick=options.quick)
    if options.json:
        print(as_json(options.benchmark, before, figures))
    else:
        show(options.benchmark, before, figures)
    return int(any(figure.missed for figure in figures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("benchmark", nargs="?", choices=BENCHMARKS, help="none: list them")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--quick", action="store_true", help="few repetitions: does it run, not how fast is it"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
