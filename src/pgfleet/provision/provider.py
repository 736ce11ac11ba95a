"""What provisioning asks of a platform. A provider is thin: it reads what is there, and does one step at a time.

Nothing is remembered between two runs. Each reads what is there, so that an apply which was ended anywhere goes on by
being begun again; a step that was done half must be found half done, as a resource that is not ready.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pgfleet.core.changes import Change, Existing, Key, Resource

Tell = Callable[[str], None]
"""Takes a line of progress: `replica-1: 40 % of 12 GB copied`. No secret is in it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change, as a person reads it before it is done."""

    change: Change
    title: str
    """`create replica-1 (db.r5.xlarge, us-east-1a)`."""
    commands: tuple[str, ...] = ()
    """What does the same by hand: `aws`, `gcloud`, `psql`, in order, correct. Secrets are names of variables."""
    estimate_s: float = 0.0
    needs: frozenset[Key] = frozenset()
    """The resources whose steps are done first. Steps that need nothing of one another run at the same time."""
    consent: str = ""
    """What the step does that somebody must allow first: `restart` of the primary. Empty: nothing."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a node that is provisioned takes connections."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Sight:
    """What a provider saw."""

    existing: tuple[Existing, ...]
    problems: tuple[str, ...] = ()
    """What makes the wish impossible whatever is done, a line each, with the next step: an unknown zone, a primary
    that is a standby, no backups."""


class Provider(Protocol):
    """One platform, for one declaration."""

    def wanted(self) -> Sequence[Resource]:
        """Everything that is to be there, in the order in which it is made."""

    async def look(self) -> Sight:
        """What is there now. Changes nothing. Raises ProvisionError when it cannot be told."""

    def step(self, change: Change) -> Step:
        """How a change is made."""

    async def carry_out(self, change: Change, tell: Tell) -> None:
        """Make one change, and return when it is whole: a replica that is created streams.

        Raises ProvisionError with the cause and what to do. Done twice it does no harm.
        """

    async def endpoints(self) -> Sequence[Endpoint]:
        """The primary, then the replicas that are ready, in the order of the declaration. Empty: nothing is there."""

    async def close(self) -> None:
        """End the connections."""


@runtime_checkable
class Promotes(Protocol):
    """A platform that can make a replica an instance of its own, which takes writes."""

    async def promote(self, name: str, tell: Tell) -> None:
        """Promote one of our replicas, and return when it is done. Raises ProvisionError."""
