"""The seeds of histories that once went wrong: `seeds.txt`, one a line, with what it was behind it."""

from __future__ import annotations

from pathlib import Path

KEPT = Path(__file__).with_name("seeds.txt")


def kept_seeds() -> list[int]:
    """Those of the file."""
    lines = (line.partition("#")[0].strip() for line in KEPT.read_text().splitlines())
    return [int(line) for line in lines if line]


def keep(seed: int, why: str) -> None:
    """Add one, unless it is there."""
    if seed not in kept_seeds():
        with KEPT.open("a") as file:
            file.write(f"{seed}  # {why}\n")
