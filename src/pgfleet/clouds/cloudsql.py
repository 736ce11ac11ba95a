"""What the Cloud SQL Admin API tells of an instance: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pgfleet.clouds.instance import ManagedInstance

POSTGRES_PORT = 5432
READY = "RUNNABLE"
SERVING = frozenset({READY, "MAINTENANCE", "ONLINE_MAINTENANCE", "REPAIRING"})
"""States of an instance that is whole: it answers, or will in a moment."""
BROKEN = frozenset({"FAILED", "SUSPENDED"})
DELETING = "PENDING_DELETE"
CREATING = "PENDING_CREATE"
READ_REPLICA = "READ_REPLICA_INSTANCE"
PRIVATE, PUBLIC = "PRIVATE", "PRIMARY"
"""Kinds of addresses: `PRIMARY` is the public one."""


@dataclass(frozen=True, slots=True)
class Instance(ManagedInstance):
    """One instance of a project."""

    facts: Mapping[str, Any]
    project: str
    creating: ClassVar[str] = CREATING
    ready: ClassVar[str] = READY
    deleting: ClassVar[str] = DELETING

    @property
    def name(self) -> str:
        """Without the project."""
        return str(self.facts["name"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """What its owner has chosen."""
        settings: Mapping[str, Any] = self.facts.get("settings") or {}
        return settings

    @property
    def status(self) -> str:
        """What Google calls its state: `PENDING_CREATE`, `RUNNABLE`, ..."""
        return str(self.facts.get("state", ""))

    @property
    def region(self) -> str:
        """`us-central1`."""
        return str(self.facts.get("region", ""))

    @property
    def zone(self) -> str:
        """Where it was wished to be, else where it is."""
        wished = (self.settings.get("locationPreference") or {}).get("zone")
        return str(wished or self.facts.get("gceZone") or "")

    @property
    def version(self) -> str:
        """`POSTGRES_16`."""
        return str(self.facts.get("databaseVersion", ""))

    @property
    def source(self) -> str:
        """Which instance of the project it is a replica of; `other-project:name` of another. Empty: it is none."""
        return str(self.facts.get("masterInstanceName") or "").removeprefix(f"{self.project}:")

    @property
    def tags(self) -> dict[str, str]:
        """What Google calls its user labels."""
        return dict(self.settings.get("userLabels") or {})

    @property
    def flags(self) -> dict[str, str]:
        """Its database flags; one without a value is empty."""
        return {flag["name"]: flag.get("value", "") for flag in self.settings.get("databaseFlags") or ()}

    @property
    def replicas(self) -> tuple[str, ...]:
        """The names of its replicas."""
        return tuple(self.facts.get("replicaNames") or ())

    @property
    def is_started(self) -> bool:
        """False: somebody has stopped it, and Cloud SQL still calls it RUNNABLE."""
        return str(self.settings.get("activationPolicy")) != "NEVER"

    @property
    def replicates(self) -> bool:
        """False: somebody has stopped its replication."""
        return self.settings.get("databaseReplicationEnabled") is not False

    @property
    def streams(self) -> bool:
        """Whether it is a replica at work."""
        return self.is_available and self.is_started and self.replicates

    def copies(self, source: Instance) -> bool:
        """Whether it is a replica of that instance."""
        return self.source == source.name

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """The private address, or the public one where there is no other; None before it has one."""
        address = self.address()
        return (address, POSTGRES_PORT) if address else None

    def address(self, kind: str = "") -> str:
        """The IP address of a kind; of no kind the private one, else the public one. Empty: it has none."""
        found = {one.get("type"): one.get("ipAddress", "") for one in self.facts.get("ipAddresses") or ()}
        kinds = (kind,) if kind else (PRIVATE, PUBLIC)
        return next((found[one] for one in kinds if found.get(one)), "")
