"""What was seen of the fleet within one moment: the values that every finding is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pgfleet.core.diagnosis.obstacle import Blocked
from pgfleet.core.diagnosis.rows import (
    Archiver,
    Disk,
    Origin,
    Prepared,
    Sample,
    Server,
    Session,
    Setting,
    Slot,
    Use,
    Wal,
)

NO_ANSWER = "no answer in time"
"""Why a question has none, when the server did not refuse it."""

LOST = "the connection was lost"
"""How the reason begins when the server hung up before it answered."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """A question that a server did not answer."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that one server said."""

    server: Server
    first: Sample
    last: Sample
    """The same as `first`, when it was asked once."""
    settings: Mapping[str, Setting] = field(default_factory=lambda: MappingProxyType({}))
    slots: tuple[Slot, ...] = ()
    origin: Origin | None = None
    sessions: tuple[Session, ...] = ()
    prepared: tuple[Prepared, ...] = ()
    use: Use | None = None
    archiver: Archiver | None = None
    wal: Wal | None = None
    disk: Disk | None = None

    def text(self, setting: str) -> str | None:
        """A setting as it is; None: the server has none of that name, or does not show it."""
        found = self.settings.get(setting)
        return found.setting if found else None

    def number(self, setting: str) -> int | None:
        """A setting that is a whole number, in its base unit."""
        text = self.text(setting)
        return int(text) if text is not None else None


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """One node of the settings, and what was seen of it."""

    name: str
    address: str
    """`host:port/database`."""
    user: str | None = None
    hosts: tuple[tuple[str, int], ...] = ()
    configured_primary: bool = False
    variable: str = ""
    """Where its address came from: a variable, or a place in the fleet file or in discovery; empty: code."""
    pool_connections: int = 0
    """How many connections one process of ours may open to it, the probe's included."""
    shared_endpoint: bool = False
    draining: bool = False
    blocked: Blocked | None = None
    facts: Facts | None = None
    unseen: tuple[Unseen, ...] = ()

    @property
    def is_in_environment(self) -> bool:
        """Whether a variable of the environment brought it."""
        return self.variable.isidentifier()

    @property
    def is_in_fleet_file(self) -> bool:
        """Whether the fleet file brought it."""
        return self.variable.startswith("PGFLEET_FLEET_FILE ")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The fleet within one moment."""

    nodes: tuple[NodeSeen, ...]
    use_replicas: bool = True
    max_lag_s: float = 10.0
    processes: int = 1
    """How many processes of the application use the fleet with these settings."""
    discovery_trouble: str = ""
