"""What Amazon RDS tells of an instance: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pgfleet.clouds.instance import ManagedInstance

READY = "available"
SERVING = frozenset(
    {
        READY,
        "backing-up",
        "configuring-enhanced-monitoring",
        "configuring-iam-database-auth",
        "configuring-log-exports",
        "maintenance",
        "modifying",
        "rebooting",
        "resetting-master-credentials",
        "storage-config-upgrade",
        "storage-full",
        "storage-initialization",
        "storage-optimization",
        "upgrading",
    }
)
"""States of an instance that is whole: it answers, or will in a moment."""
BROKEN = frozenset(
    {
        "failed",
        "inaccessible-encryption-credentials",
        "inaccessible-encryption-credentials-recoverable",
        "incompatible-create",
        "incompatible-network",
        "incompatible-option-group",
        "incompatible-parameters",
        "incompatible-restore",
        "insufficient-capacity",
        "restore-error",
        "stopped",
        "stopping",
    }
)
"""States that no waiting ends."""
CREATING = "creating"
DELETING = "deleting"
REPLICATION = "read replication"
REPLICATING = "replicating"


@dataclass(frozen=True, slots=True)
class Instance(ManagedInstance):
    """One instance, as DescribeDBInstances shows it in its region."""

    facts: Mapping[str, Any]
    region: str
    creating: ClassVar[str] = CREATING
    ready: ClassVar[str] = READY
    deleting: ClassVar[str] = DELETING

    @property
    def name(self) -> str:
        """Its identifier."""
        return str(self.facts["DBInstanceIdentifier"])

    @property
    def arn(self) -> str:
        """What it is called in other regions."""
        return str(self.facts.get("DBInstanceArn", ""))

    @property
    def status(self) -> str:
        """`creating`, `available`, ..."""
        return str(self.facts.get("DBInstanceStatus", ""))

    @property
    def source(self) -> str:
        """Which instance it is a replica of: an identifier, or an ARN of another region. Empty: it is none."""
        return str(self.facts.get("ReadReplicaSourceDBInstanceIdentifier") or "")

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return {tag["Key"]: tag.get("Value", "") for tag in self.facts.get("TagList") or ()}

    @property
    def replicas(self) -> tuple[str, ...]:
        """Its replicas: identifiers, and ARNs of those in other regions."""
        return tuple(self.facts.get("ReadReplicaDBInstanceIdentifiers") or ())

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Host and port; None before it has one."""
        told = self.facts.get("Endpoint") or {}
        return (told["Address"], int(told["Port"])) if told.get("Address") and told.get("Port") else None

    @property
    def zone(self) -> str:
        """Where it stands now."""
        return str(self.facts.get("AvailabilityZone") or "")

    @property
    def replication(self) -> tuple[str, str]:
        """What replication does, and AWS's word on why. Empty: nothing is told yet."""
        for info in self.facts.get("StatusInfos") or ():
            if info.get("StatusType") == REPLICATION:
                return str(info.get("Status", "")), str(info.get("Message") or "")
        return "", ""

    @property
    def streams(self) -> bool:
        """Whether it is a replica at work."""
        return self.is_available and self.replication[0] == REPLICATING

    def copies(self, source: Instance) -> bool:
        """Whether it is a replica of that instance."""
        return copies(self, source.name, source.region, source.arn)


def copies(instance: Instance, name: str, region: str, arn: str) -> bool:
    """Whether an instance is a replica of the one of this name in `region`, or of this ARN."""
    return (
        instance.source == arn
        if ":" in instance.source
        else instance.source == name and instance.region == region
    )


def region_of_arn(arn: str) -> str:
    """`arn:aws:rds:eu-west-1:123456789012:db:hotel` is in eu-west-1."""
    return arn.split(":")[3]
