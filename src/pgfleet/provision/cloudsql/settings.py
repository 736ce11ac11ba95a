"""What may be wished of a replica, as attributes and as the body of a request."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pgfleet.clouds.cloudsql import READ_REPLICA, Instance
from pgfleet.provision.declaration import Declaration, WantedReplica, not_texts
from pgfleet.provision.managed.instance import MARK

LABEL, FLAG = "label ", "flag "
"""Begin the attributes of labels and of database flags."""
OPTIONS: Mapping[str, type] = {
    "region": str,
    "availability": str,
    "edition": str,
    "public_ip": bool,
    "flags": dict,
}
"""The keys of a `[[replica]]` that only this provider knows."""
FIXED = frozenset({"source", "region", "zone", "edition"})
AVAILABILITIES = ("zonal", "regional")
EDITIONS = ("enterprise", "enterprise-plus")
WORDS = {str: "a text", bool: "true or false", dict: "a table"}
TEXTS = (("provider", ("project", "region", "endpoint"), "project"), ("primary", ("instance",), "instance"))
NAME_RULE = "lower-case letters, digits and `-`, a letter first, at most 97"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,95}[a-z0-9]|[a-z]")
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


def compared(replica: WantedReplica, region: str) -> dict[str, str]:
    """What is said of a replica, as attributes; `region` is empty when none is named."""
    options = replica.options
    said = {
        "region": region,
        "zone": replica.zone,
        "class": replica.instance_class,
        "availability": str(options.get("availability", "")).lower(),
        "edition": str(options.get("edition", "")).lower(),
        "public_ip": shown(options["public_ip"]) if "public_ip" in options else "",
    }
    return (
        {name: value for name, value in said.items() if value}
        | {f"{LABEL}{key}": value for key, value in replica.tags.items()}
        | {f"{FLAG}{name}": value for name, value in flags(replica).items()}
    )


def told(instance: Instance) -> dict[str, str]:
    """The attributes of an instance that is there."""
    settings = instance.settings
    return (
        {
            "source": instance.source,
            "region": instance.region,
            "zone": instance.zone,
            "class": str(settings.get("tier", "")),
            "availability": str(settings.get("availabilityType", "")).lower(),
            "edition": str(settings.get("edition", "")).lower().replace("_", "-"),
            "public_ip": shown((settings.get("ipConfiguration") or {}).get("ipv4Enabled", False)),
        }
        | {f"{LABEL}{key}": value for key, value in instance.tags.items()}
        | {f"{FLAG}{name}": value for name, value in instance.flags.items()}
    )


def creation(fleet: str, replica: WantedReplica, region: str, source: Instance) -> dict[str, Any]:
    """The body that makes a replica. What is not said of it is as the primary's."""
    network = dict(_of_the_network(source))
    if "public_ip" in replica.options:
        network["ipv4Enabled"] = replica.options["public_ip"]
    settings: dict[str, Any] = {
        "tier": replica.instance_class or source.settings.get("tier"),
        "availabilityType": str(replica.options.get("availability", "zonal")).upper(),
        "userLabels": {MARK: fleet, **replica.tags},
    }
    if edition := _edition(replica, source):
        settings["edition"] = edition
    if named := flags(replica):
        settings["databaseFlags"] = listed(named)
    if replica.zone:
        settings["locationPreference"] = {"zone": replica.zone}
    if network:
        settings["ipConfiguration"] = network
    return {
        "name": replica.name,
        "region": region or source.region,
        "masterInstanceName": source.name,
        "databaseVersion": source.version,
        "instanceType": READ_REPLICA,
        "settings": settings,
    }


def alteration(replica: WantedReplica, instance: Instance, names: Collection[str]) -> dict[str, Any]:
    """The body that makes an instance as it is wanted in these attributes. Flags are replaced as a whole."""
    settings: dict[str, Any] = {}
    if "class" in names:
        settings["tier"] = replica.instance_class
    if "availability" in names:
        settings["availabilityType"] = str(replica.options["availability"]).upper()
    if "public_ip" in names:
        settings["ipConfiguration"] = {"ipv4Enabled": replica.options["public_ip"]}
    if labels := {key: value for key, value in replica.tags.items() if f"{LABEL}{key}" in names}:
        settings["userLabels"] = labels
    if any(name.startswith(FLAG) for name in names):
        settings["databaseFlags"] = listed(instance.flags | flags(replica))
    if version := instance.settings.get("settingsVersion"):
        settings["settingsVersion"] = version
    return {"settings": settings}


def flags(replica: WantedReplica) -> dict[str, str]:
    """The database flags of a replica, as Cloud SQL writes them."""
    return {name: _flag(value) for name, value in _flags_said(replica).items()}


def _flags_said(replica: WantedReplica) -> Mapping[str, Any]:
    said = replica.options.get("flags")
    return said if isinstance(said, dict) else {}


def _flag(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def listed(named: Mapping[str, str]) -> list[dict[str, str]]:
    """Flags as a body has them."""
    return [
        {"name": name, "value": value} if value else {"name": name} for name, value in sorted(named.items())
    ]


def shown(value: object) -> str:
    """A boolean as an attribute."""
    return "true" if value else "false"


def wrong_values(declaration: Declaration) -> Iterator[str]:
    """What cannot be meant so, whatever is there."""
    for table, keys, needed in TEXTS:
        values = declaration.options if table == "provider" else declaration.primary
        yield from not_texts(table, values, keys)
        if not values.get(needed):
            yield f'[{table}] {needed}: is not set; write {needed} = "...", as Google Cloud calls it'
    for replica in declaration.replicas:
        if not _NAME.fullmatch(replica.name):
            yield f"replica {replica.name}: Cloud SQL takes no such name; write {NAME_RULE}"
        for mistake in (*_mistakes(replica), *_mistakes_in_labels(replica)):
            yield f"replica {replica.name}: {mistake}"


def _mistakes(replica: WantedReplica) -> Iterator[str]:
    for name, value in replica.options.items():
        if type(value) is not OPTIONS[name]:
            yield f"its {name} is {value!r}; write {WORDS[OPTIONS[name]]}"
    for name, value in _flags_said(replica).items():
        if not isinstance(value, (str, int, float)):
            yield f"its flag {name} is {value!r}; write a text, a number, or true or false"
    for name, known in (("availability", AVAILABILITIES), ("edition", EDITIONS)):
        value = replica.options.get(name, known[0])
        if isinstance(value, str) and value.lower() not in known:
            yield f"its {name} is {value!r}; write {' or '.join(known)}"


def _mistakes_in_labels(replica: WantedReplica) -> Iterator[str]:
    for key, value in replica.tags.items():
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            yield (
                f"its label {key} = {value!r}: write lower-case letters, digits, `_` and `-`, in a key a letter first"
            )
    if MARK in replica.tags:
        yield f"its label {MARK} is the mark of the fleet; name the fleet so, or write another label"


def _edition(replica: WantedReplica, source: Instance) -> str:
    wished = str(replica.options.get("edition", "")).upper().replace("-", "_")
    return wished or str(source.settings.get("edition") or "")


def _of_the_network(source: Instance) -> Iterator[tuple[str, Any]]:
    """A replica is as private as its primary, and asks as much of its callers."""
    said = source.settings.get("ipConfiguration") or {}
    for name in ("ipv4Enabled", "privateNetwork", "sslMode"):
        if name in said:
            yield name, said[name]
