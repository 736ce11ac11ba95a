"""What a run of the checklist is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pgfleet.verify.asking import Site


@dataclass(frozen=True, slots=True)
class Commands:
    """Consent to stop a replica: how, and how to start it again."""

    stop: str
    start: str


@dataclass(frozen=True, slots=True)
class Options:
    """What is looked at, and for how long."""

    seconds: float = 1.5
    replicas: int | None = None
    """How many there must be; None: as many as are configured."""
    callers: int = 8
    rate: float = 300.0
    """Reads a second."""
    read_only: bool = False
    """Write nothing, not even an empty message into the log."""
    site: Site | None = None
    """The monitoring API that runs; None: one of our own."""
    prometheus: Site | None = None
    drill: bool = False
    commands: Commands | None = None
    directory: Path | None = None
    within_s: float = 60.0
    """How long a replica may take to go, and again to come back."""
