"""What is gathered of a fleet, to be judged. Values only; times of one monotonic clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any
"""What a server answered, to be looked at with suspicion."""

HIDDEN = ""
"""The state of a walreceiver that our role is not shown."""


@dataclass(frozen=True, slots=True)
class ReplicaFigures:
    """One configured replica."""

    name: str
    weight: int = 1
    trouble: str | None = None
    """Why it is no replica of this fleet that runs; None: it is one."""
    receiver: str | None = None
    """The state of its walreceiver; None: it has none."""
    by_storage: bool = False
    """Aurora: no WAL is streamed to it."""
    is_shared: bool = False
    """Several servers stand behind its address."""


@dataclass(frozen=True, slots=True)
class LagFigures:
    """The samples of one replica's lag."""

    name: str
    samples: int
    max_s: float | None
    """None: it was never measured."""
    gap: str | None = None
    """Why it could not be measured, once it should have been."""
    is_shared: bool = False
    """It is that of whichever server behind the address answered the probes."""


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """What a node says of itself and of our connection. None: it did not say."""

    name: str
    is_remote: bool
    """Our connection leaves this machine."""
    version: str | None = None
    encrypted: bool | None = None
    connections: int | None = None
    max_connections: int | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """One read of the load."""

    began_s: float
    ended_s: float
    node: str | None
    """Who answered, by the server's own word; None: nobody."""
    on_replica: bool = False
    error: str = ""

    @property
    def took_s(self) -> float:
        """Until the answer."""
        return self.ended_s - self.began_s


@dataclass(frozen=True, slots=True)
class WriteFigures:
    """Writes of an org, and whether the next read of this org saw them."""

    writes: int = 0
    seen: int = 0
    on_replicas: int = 0
    """How many of these reads a replica answered."""
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FallbackFigures:
    """Reads while no replica could be reached."""

    reads: tuple[Read, ...]
    stopped: tuple[str, ...] = ()
    """The replicas that were really stopped; none: this process only looked for them in the wrong place."""
    trouble: str = ""
    """Why it could not be tried to the end."""


@dataclass(frozen=True, slots=True)
class FailoverFigures:
    """A replica that was stopped and started again, under load."""

    reads: tuple[Read, ...]
    within_s: float
    """How long going and coming back might take."""
    victim: str | None = None
    """Who stopped answering; None: nobody did."""
    out_s: float | None = None
    """How long after the stop it was still offered to reads."""
    back_s: float | None = None
    """How long after the start until it answered a read; None: it did not in time."""
    struck_s: float = 0.0
    mended_s: float = 0.0
    trouble: str = ""
    """Why it could not be tried to the end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP server said to one request."""

    status: int | None
    """None: nothing."""
    body: Json = None
    """The JSON of it; None: it was none."""
    complaint: str = ""
    """Why there is no status or no JSON."""


@dataclass(frozen=True, slots=True)
class ApiFigures:
    """The answers of the monitoring API."""

    where: str
    """Its URL, without who asks."""
    is_own: bool
    """It was served by `pgfleet verify` itself."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """By path."""
    without_token: int | None = None
    """The status of the health endpoint to a request without a token."""
