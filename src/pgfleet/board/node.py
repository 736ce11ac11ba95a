"""One server as this process uses it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pgfleet.board.fallback import fallback_size
from pgfleet.board.shared import Behind
from pgfleet.core.latency import Answers
from pgfleet.pool import Pool
from pgfleet.ports import Connector
from pgfleet.settings import Settings

C = TypeVar("C")

MIN_PROBES = 3
"""Probes that say something of a node's speed: they are one statement, the same on every node."""


@dataclass(slots=True)
class Node(Generic[C]):
    """One server as this process uses it: a pool for reads, one for writes, and the way to probe it."""

    name: str
    reads: Pool[C]
    writes: Pool[C]
    prober: Connector[C]
    pooler: Connector[C] | None = None
    """The way through the pooler in front of the server, where `prober` passes by one."""
    shutdowns: int = field(default=0)
    """Connections ended by an administrator (57P01) since the node was last seen well."""
    probes: Answers = field(default_factory=lambda: Answers(MIN_PROBES))
    """How long its probes take."""
    behind: Behind = field(init=False)
    """The servers behind its address, where that is a shared one."""

    def __post_init__(self) -> None:
        self.behind = Behind(self.name)
        for pool in self.pools:
            pool.owner = self

    @property
    def pools(self) -> tuple[Pool[C], Pool[C]]:
        """Both pools."""
        return self.reads, self.writes

    def drain(self) -> None:
        """Lend nothing again that is open now."""
        for pool in self.pools:
            pool.drain()


def share_out(nodes: Iterable[Node[Any]], primary: str | None, settings: Settings) -> None:
    """Whichever node is the primary keeps most of its connections for writes; every other lends all to reads."""
    for node in nodes:
        limit, reads = node.writes.limits.max_size, node.reads
        share = fallback_size(settings, limit) if node.name == primary else limit
        if share < reads.limits.max_size:
            reads.drain()
        reads.resize(share)
