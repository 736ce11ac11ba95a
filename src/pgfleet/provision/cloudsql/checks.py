"""What makes the wish impossible, told before anything is done."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pgfleet.clouds.cloudsql import BROKEN, DELETING, Instance
from pgfleet.clouds.google import SqlAdmin
from pgfleet.provision.cloudsql import commands
from pgfleet.provision.cloudsql.settings import flags
from pgfleet.provision.declaration import WantedReplica

CUSTOM_TIER = re.compile(r"db-custom-[0-9]+-[0-9]+")
"""Of any size: not all are listed."""
AS_MANY = (
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
)
"""A standby with less of these than its primary stops."""


def of_the_source(source: Instance) -> Iterator[str]:
    """Why it can have no replicas."""
    name = f"the primary {source.name}"
    if not source.version.startswith("POSTGRES_"):
        yield f"{name} runs {source.version or 'something unknown'}; write an instance of PostgreSQL"
    if source.source:
        yield f"{name} is itself a replica, of {source.source}; write that one, or promote this one first"
    if source.status in (*BROKEN, DELETING):
        yield f"{name} is {source.status}; mend it first"
    elif not source.is_started:
        yield f"{name} is stopped; {commands.patch(source, commands.START)}"
    private = (source.settings.get("ipConfiguration") or {}).get("privateNetwork")
    if private and source.settings.get("connectorEnforcement") == "REQUIRED":
        remedy = commands.patch(source, "--connector-enforcement=NOT_REQUIRED")
        yield f"{name} is private and lets connectors in only, which Cloud SQL makes no replicas of; {remedy}"


def of_the_flags(source: Instance, replicas: Sequence[WantedReplica]) -> Iterator[str]:
    """A standby needs as much of some as its primary."""
    for replica in replicas:
        for name, value in flags(replica).items():
            has = source.flags.get(name, "")
            if name in AS_MANY and has.isdecimal() and value.isdecimal() and int(value) < int(has):
                yield f"replica {replica.name}: its {name} is {value} and the primary's {has}; write at least that"


def of_the_places(
    api: SqlAdmin, source: Instance, replicas: Sequence[WantedReplica], regions: Mapping[str, str]
) -> Iterator[str]:
    """Whether each tier is to be had where it is wanted, and whether there is such a place. Raises ApiFailure."""
    if not replicas:
        return
    tiers = {tier["tier"]: frozenset(tier.get("region") or ()) for tier in api.listed("tiers")}
    known = frozenset[str]().union(*tiers.values())
    for replica in replicas:
        region = regions[replica.name] or source.region
        if region not in known:
            yield f"replica {replica.name}: Cloud SQL has no region {region}; `gcloud sql tiers list` shows them"
            continue
        yield from _of_the_tier(replica, region, tiers)
        yield from _of_the_zone(api, replica, region)


def _of_the_tier(replica: WantedReplica, region: str, tiers: Mapping[str, frozenset[str]]) -> Iterator[str]:
    tier = replica.instance_class
    if not tier or CUSTOM_TIER.fullmatch(tier):
        return
    if tier not in tiers:
        yield f"replica {replica.name}: Cloud SQL has no tier {tier}; `gcloud sql tiers list` shows them"
    elif region not in tiers[tier]:
        yield f"replica {replica.name}: there is no {tier} in {region}; write another tier or region"


def _of_the_zone(api: SqlAdmin, replica: WantedReplica, region: str) -> Iterator[str]:
    """A zone that nobody tells of is left to Cloud SQL, which refuses a wrong one."""
    zone = replica.zone
    if zone and zone.rpartition("-")[0] != region:
        yield f"replica {replica.name}: the zone {zone} is not in {region}; write one that is, or its region"
    elif zone and api.has_zone(zone) is False:
        yield f"replica {replica.name}: there is no zone {zone}; `gcloud compute zones list` shows them"
