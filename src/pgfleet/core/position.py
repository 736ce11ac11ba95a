"""A position in the write-ahead log of one cluster: the value that watermarks and tokens are made of."""

from __future__ import annotations

from dataclasses import dataclass

from pgfleet.core.lsn import Lsn, format_lsn


@dataclass(frozen=True, slots=True)
class Watermark:
    """What a reader must be able to see: all that this cluster had written up to a position.

    An LSN means nothing without its timeline, and neither of them without the cluster: a replica that has replayed
    `lsn` on another timeline may hold none of it.
    """

    system_id: int
    """`system_identifier` of `pg_control_system()`."""
    timeline: int
    """The one that the primary wrote on."""
    lsn: Lsn

    def __str__(self) -> str:
        return f"{format_lsn(self.lsn)} on timeline {self.timeline}"
