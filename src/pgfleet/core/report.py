"""What people and monitors read about a fleet, as plain values ready for JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The figures of one pool at one moment. Open connections are `active + idle`."""

    active: int = 0
    idle: int = 0
    waiting: int = 0
    """Callers in line for a connection."""
    max_connections: int = 0
    leases: int = 0
    """Leases since the start."""
