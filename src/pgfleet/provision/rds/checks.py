"""What makes the wish impossible, told before anything is done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from pgfleet.clouds.aws import Rds
from pgfleet.clouds.rds import BROKEN, DELETING, Instance
from pgfleet.provision.declaration import WantedReplica
from pgfleet.provision.rds import calls

MOST_REPLICAS = 15
"""Of one instance of RDS for PostgreSQL."""
ENGINE = "postgres"


def of_the_source(source: Instance) -> Iterator[str]:
    """Why it can have no replicas."""
    name = f"the primary {source.name}"
    engine = str(source.facts.get("Engine", ""))
    if engine.startswith("aurora"):
        yield f"{name} is an instance of Aurora, which has readers of its own: aws rds create-db-instance"
    elif engine != ENGINE:
        yield f"{name} runs {engine}; write an instance of RDS for PostgreSQL"
    elif cluster := source.facts.get("DBClusterIdentifier"):
        yield f"{name} is a member of the cluster {cluster}; write an instance that stands alone"
    if source.source:
        yield f"{name} is itself a replica, of {source.source}; write that one, or promote this one first"
    elif not source.facts.get("BackupRetentionPeriod"):
        yield f"{name} keeps no backups, and RDS makes replicas from these: {calls.with_backups(source)}"
    if source.status in (*BROKEN, DELETING):
        yield f"{name} is {source.status}; mend or start it first"


def of_the_number(source: Instance, new: int) -> Iterator[str]:
    """Whether the source may have so many."""
    there = len(source.replicas)
    if new and there + new > MOST_REPLICAS:
        yield (
            f"the primary {source.name} has {there} replicas and may have {MOST_REPLICAS}, so {new} more do not fit;"
            " remove some, from the file or from the account"
        )


def of_the_copies(
    source: Instance, replicas: Sequence[WantedReplica], regions: Mapping[str, str]
) -> Iterator[str]:
    """What a copy in another region needs."""
    for replica in replicas:
        region = regions[replica.name]
        is_sealed = region != source.region and source.facts.get("StorageEncrypted")
        if is_sealed and not replica.options.get("kms_key_id"):
            yield (
                f"replica {replica.name}: the primary is encrypted, and its key stays in {source.region}; write"
                f" kms_key_id, a key of {region}"
            )


def of_the_places(
    source: Instance, replicas: Sequence[WantedReplica], regions: Mapping[str, str], apis: Mapping[str, Rds]
) -> Iterator[str]:
    """Whether each class is to be had where it is wanted. Asks once for each class of a region."""
    asked: dict[tuple[str, str], list[WantedReplica]] = defaultdict(list)
    for replica in replicas:
        if replica.instance_class or replica.zone:
            of_source = str(source.facts.get("DBInstanceClass", ""))
            asked[regions[replica.name], replica.instance_class or of_source].append(replica)
    for (region, instance_class), those in asked.items():
        zones = _zones(apis[region], source, instance_class)
        for replica in those:
            yield from _of_one_place(replica, region, instance_class, zones)


def _of_one_place(
    replica: WantedReplica, region: str, instance_class: str, zones: frozenset[str]
) -> Iterator[str]:
    name = f"replica {replica.name}"
    if not zones:
        yield f"{name}: there is no class {instance_class} for this PostgreSQL in {region}; write another class"
    elif replica.zone and replica.zone not in zones:
        yield (
            f"{name}: there is no {instance_class} in a zone {replica.zone}; {region} has it in"
            f" {', '.join(sorted(zones))}"
        )


def _zones(api: Rds, source: Instance, instance_class: str) -> frozenset[str]:
    """Where a replica of this class can stand. Raises ApiFailure."""
    options = api.listed(
        "DescribeOrderableDBInstanceOptions",
        "OrderableDBInstanceOptions",
        Engine=ENGINE,
        EngineVersion=str(source.facts.get("EngineVersion", "")),
        DBInstanceClass=instance_class,
    )
    return frozenset(
        zone["Name"]
        for option in options
        if option.get("ReadReplicaCapable")
        for zone in option["AvailabilityZones"]
    )
