"""Which nodes a fleet has: as somebody found them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """A server that was discovered. User, password, database and parameters are those of DATABASE_URL."""

    name: str
    host: str
    port: int
    weight: int = 1
    """Its part of the reads, against the weights of the others."""
    zone: str | None = None
    takes_reads: bool = True
    """False: watched and listed, but no read goes there."""
