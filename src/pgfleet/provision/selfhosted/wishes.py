"""What is to be there, and what is there, in the same words."""

from __future__ import annotations

from collections.abc import Mapping

from pgfleet.core.changes import Resource
from pgfleet.provision.selfhosted.facts import Machine
from pgfleet.provision.selfhosted.hba import rules
from pgfleet.provision.selfhosted.places import LOOPBACK, Place, Site, identifier
from pgfleet.provision.selfhosted.settings import conninfo, shown_size

SETTINGS, ROLE, ACCESS, SLOT, REPLICA = "settings", "role", "access", "slot", "replica"
OF_PRIMARY = Resource(SETTINGS, "primary")
ACCESS_NAME = "pg_hba.conf"

LEAST_SENDERS = 10
SPARE = 4
"""Walsenders and slots for others: a backup, an upgrade, a replica that is replaced."""
AT_START = frozenset({"wal_level", "max_wal_senders", "max_replication_slots", "listen_addresses"})
"""Settings that only a restart changes."""
LIMITED = "limited"
AS_PRIMARY = "as the primary's"
REACHABLE = "reachable"


def wanted(site: Site) -> list[Resource]:
    """Everything, in the order in which it is made."""
    resources = [Resource(SETTINGS, OF_PRIMARY.name, floors(site))]
    resources += [Resource(ROLE, identifier(site.fleet, place.name)) for place in site.replicas]
    if site.replicas:
        resources.append(
            Resource(ACCESS, ACCESS_NAME, {"rules": "; ".join(rules(site.fleet, site.replicas))})
        )
    slots = (identifier(site.fleet, place.name) for place in site.replicas)
    resources += [Resource(SLOT, name, {"type": "physical"}, frozenset({"type"})) for name in slots]
    resources += [wanted_replica(site, place) for place in site.replicas]
    return resources


def floors(site: Site) -> dict[str, str]:
    """The settings of the primary, each at least this."""
    many = str(max(LEAST_SENDERS, 2 * len(site.replicas) + SPARE))
    usual = {
        "wal_level": "replica",
        "max_wal_senders": many,
        "max_replication_slots": many,
        "max_slot_wal_keep_size": LIMITED,
    }
    reach = {} if site.primary.address == LOOPBACK else {"listen_addresses": REACHABLE}
    return usual | dict(site.floors) | reach


def wanted_replica(site: Site, place: Place) -> Resource:
    """One replica."""
    attributes = {
        "host": str(place.login),
        "port": str(place.port),
        "follows": followed(upstream(site, place, "")),
        "limits": AS_PRIMARY,
    }
    if place.data_directory:
        attributes["data_directory"] = place.data_directory
    return Resource(REPLICA, place.name, attributes, frozenset({"host", "data_directory"}))


def upstream(site: Site, place: Place, passfile: str) -> dict[str, str]:
    """The words of a standby's `primary_conninfo`. Its password is in the passfile alone."""
    return {
        "host": site.primary.address,
        "port": str(site.primary.port),
        "user": identifier(site.fleet, place.name),
        "application_name": place.name,
        "passfile": passfile,
        "sslmode": place.sslmode,
        "sslrootcert": place.sslrootcert,
    }


def followed(words: Mapping[str, str]) -> str:
    """Whom a standby follows, without what is secret or of its host."""
    return conninfo({word: value for word, value in words.items() if word not in ("passfile", "password")})


def shown(name: str, value: str) -> str:
    """A setting's value as it is written: of sizes pg_settings has the megabytes."""
    return shown_size(int(value)) if name.endswith("_size") and value else value


def listening(now: str, address: str, machine: Machine) -> str:
    """`listen_addresses` with this one too; with all, when the address is none that the host itself knows (NAT)."""
    if address == LOOPBACK:
        return "localhost"
    if listens(now, "*") or address not in machine.addresses:
        return "*"
    kept = [word.strip() for word in now.split(",") if word.strip() in ("localhost", LOOPBACK)]
    return ",".join((*kept, address))


def listens(value: str, address: str) -> bool:
    """Whether `listen_addresses` takes connections to an address."""
    return not {"*", "0.0.0.0", "::", address}.isdisjoint(word.strip() for word in value.split(","))  # noqa: S104
