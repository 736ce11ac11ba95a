"""What one read asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadIntent:
    """What one read asks for beyond its SQL."""

    prefer_replica: bool = True
    max_lag_s: float | None = None
    """Strict bound on staleness. None: the fleet's own bound, frozen while no primary answers."""
    not_before_s: float | None = None
    """The read sees all that was visible at this moment of our monotonic clock; infinity: the primary only.

    What was asked in the same tick of the clock may have been answered before: only later proves it.
    """


PLAIN = ReadIntent()
"""A read without wishes: what the routing table answers."""
