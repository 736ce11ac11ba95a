"""What may be wished of a replica: the key in the file, the parameter of the API, and where it is read again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pgfleet.clouds.rds import Instance
from pgfleet.provision.declaration import Declaration, WantedReplica, not_texts
from pgfleet.provision.managed.instance import MARK

Reader = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them."""

    parameter: str
    """Of CreateDBInstanceReadReplica, and of ModifyDBInstance unless it is fixed."""
    kind: type
    read: Reader | None
    """Finds it in what DescribeDBInstances tells; None: it is told in other words, so it is not compared."""
    fixed: bool = False


def _named(key: str) -> Reader:
    return lambda facts: facts.get(key)


def _first(key: str, inner: str) -> Reader:
    return lambda facts: next((item.get(inner) for item in facts.get(key) or ()), None)


OPTIONS: Mapping[str, Setting] = {
    "parameter_group": Setting(
        "DBParameterGroupName", str, _first("DBParameterGroups", "DBParameterGroupName")
    ),
    "monitoring_interval_s": Setting("MonitoringInterval", int, _named("MonitoringInterval")),
    "monitoring_role_arn": Setting("MonitoringRoleArn", str, _named("MonitoringRoleArn")),
    "performance_insights": Setting("EnablePerformanceInsights", bool, _named("PerformanceInsightsEnabled")),
    "multi_az": Setting("MultiAZ", bool, _named("MultiAZ")),
    "storage_type": Setting("StorageType", str, _named("StorageType")),
    "iops": Setting("Iops", int, _named("Iops")),
    "max_allocated_storage_gb": Setting("MaxAllocatedStorage", int, _named("MaxAllocatedStorage")),
    "security_groups": Setting(
        "VpcSecurityGroupIds",
        list,
        lambda facts: [group["VpcSecurityGroupId"] for group in facts.get("VpcSecurityGroups") or ()],
    ),
    "subnet_group": Setting(
        "DBSubnetGroupName",
        str,
        lambda facts: (facts.get("DBSubnetGroup") or {}).get("DBSubnetGroupName"),
        True,
    ),
    "kms_key_id": Setting("KmsKeyId", str, None, True),
}
"""The keys of a `[[replica]]` that only this provider knows."""
COMMON: Mapping[str, Setting] = {
    "class": Setting("DBInstanceClass", str, _named("DBInstanceClass")),
    "zone": Setting("AvailabilityZone", str, _named("AvailabilityZone"), True),
    "public": Setting("PubliclyAccessible", bool, _named("PubliclyAccessible")),
}
SETTINGS: Mapping[str, Setting] = {**COMMON, **OPTIONS}
FIXED = frozenset({"source", "region", *(name for name, setting in SETTINGS.items() if setting.fixed)})
MONITORING_INTERVALS_S = (0, 1, 5, 10, 15, 30, 60)
TAG = "tag "
"""Begins the attribute of a tag."""


def wishes(replica: WantedReplica) -> dict[str, Any]:
    """What is said of the replica, by setting. It is never public."""
    said = {"class": replica.instance_class, "zone": replica.zone}
    named = {name: value for name, value in said.items() if value}
    return (
        named
        | {"public": False}
        | {name: replica.options[name] for name in OPTIONS if name in replica.options}
    )


def compared(replica: WantedReplica) -> dict[str, str]:
    """What is said of it and can be read again, as attributes."""
    wanted = wishes(replica).items()
    return {name: shown(value) for name, value in wanted if SETTINGS[name].read} | {
        f"{TAG}{key}": value for key, value in replica.tags.items()
    }


def told(instance: Instance) -> dict[str, str]:
    """The attributes of an instance that is there."""
    values = {name: setting.read(instance.facts) for name, setting in SETTINGS.items() if setting.read}
    return {name: shown(value) for name, value in values.items()} | {
        f"{TAG}{key}": value for key, value in instance.tags.items()
    }


def parameters(names: Mapping[str, Any]) -> dict[str, Any]:
    """Values by setting as parameters of a call."""
    return {SETTINGS[name].parameter: value for name, value in names.items()}


def shown(value: object) -> str:
    """A value as an attribute: comparable, and readable in a plan."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(sorted(map(str, value)))
    return "" if value is None else str(value)


IDENTIFIER = re.compile(r"(?!.*--)[a-z][a-z0-9-]{0,61}[a-z0-9]|[a-z]")
NAME_RULE = "lower-case letters, digits and single `-`, a letter first, at most 63"
WORDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list of texts"}
TEXTS = (("provider", ("region", "profile", "endpoint")), ("primary", ("instance", "region")))


def wrong_values(declaration: Declaration) -> Iterator[str]:
    """What cannot be meant so, whatever is there."""
    for table, keys in TEXTS:
        values = declaration.options if table == "provider" else declaration.primary
        yield from not_texts(table, values, keys)
    if not declaration.primary.get("instance"):
        yield '[primary] instance: is not set; write instance = "...", the identifier of the primary in RDS'
    for replica in declaration.replicas:
        if not IDENTIFIER.fullmatch(replica.name):
            yield f"replica {replica.name}: RDS takes no such name; write {NAME_RULE}"
        for mistake in _mistakes(replica):
            yield f"replica {replica.name}: {mistake}"


def _is_a(kind: type, value: object) -> bool:
    is_text_list = not isinstance(value, list) or all(isinstance(item, str) for item in value)
    return type(value) is kind and is_text_list


def _mistakes(replica: WantedReplica) -> Iterator[str]:
    kinds = {"region": str} | {name: setting.kind for name, setting in OPTIONS.items()}
    for name, value in replica.options.items():
        if not _is_a(kinds[name], value):
            yield f"its {name} is {value!r}; write {WORDS[kinds[name]]}"
    interval_s = replica.options.get("monitoring_interval_s", 0)
    if interval_s not in MONITORING_INTERVALS_S:
        yield f"its monitoring_interval_s is {interval_s!r}; write one of {', '.join(map(str, MONITORING_INTERVALS_S))}"
    elif bool(interval_s) != bool(replica.options.get("monitoring_role_arn")):
        yield "it has one of monitoring_interval_s and monitoring_role_arn; write both, or neither"
    if MARK in replica.tags:
        yield f"its tag {MARK} is the mark of the fleet; name the fleet so, or write another tag"
