"""How long a primary and three replicas take from nothing to verified, as they are typed: two processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from bench.figures import Figure
from pgfleet.local import LocalFleet

LIMIT_S = 6.0
COMMAND = [sys.executable, "-c", "from pgfleet.cli import main; main()", "provision"]
FILE = """
[fleet]
name = "hospitality"
register = "replicas.toml"

[provider]
kind = "local"
directory = "postgresql"
"""


def run(*, quick: bool) -> list[Figure]:
    """Apply and verify some fleets, one after another; and apply once more, which does nothing."""
    times = [_fleet_s() for _ in range(1 if quick else 5)]
    applied, verified, again = zip(*times, strict=True)
    whole = [a + v for a, v in zip(applied, verified, strict=True)]
    return [
        Figure("from nothing to verified, three replicas", median(whole), "s", LIMIT_S),
        Figure("... of which apply", median(applied), "s"),
        Figure("... of which verify", median(verified), "s"),
        Figure("apply when there is nothing to do", median(again), "s"),
        Figure("the slowest of them to verified", max(whole), "s", detail=f"of {len(times)}"),
    ]


def _fleet_s() -> tuple[float, float, float]:
    root = Path(tempfile.mkdtemp(prefix="pgfleet-bench-"))
    root.chmod(0o711)
    try:
        replicas = "".join(f'\n[[replica]]\nname = "replica-{number}"\n' for number in (1, 2, 3))
        (root / "fleet.toml").write_text(FILE + replicas)
        return _took_s(root, "apply"), _took_s(root, "verify"), _took_s(root, "apply")
    finally:
        LocalFleet.remove(root / "postgresql")
        for path in root.iterdir():
            path.unlink()
        root.rmdir()


def _took_s(root: Path, command: str) -> float:
    began_s = perf_counter()
    subprocess.run([*COMMAND, command, "--file", root / "fleet.toml"], check=True, capture_output=True)
    return perf_counter() - began_s
