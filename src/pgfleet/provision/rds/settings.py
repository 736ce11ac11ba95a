"""What may be wished of a replica: the key in the file, the parameter of the API, and where it is read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pgfleet.clouds.rds import Instance
from pgfleet.provision.declaration import WantedReplica

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


def mistakes(replica: WantedReplica) -> Iterator[str]:
    """What cannot be meant so, whatever is there."""
    for name, value in replica.options.items():
        setting = OPTIONS.get(name)
        if setting and type(value) is not setting.kind:
            yield f"its {name} is {value!r} and should be {WORDS[setting.kind]}"
    interval_s = replica.options.get("monitoring_interval_s", 0)
    if interval_s not in MONITORING_INTERVALS_S:
        yield f"its monitoring_interval_s is {interval_s!r}; RDS takes {', '.join(map(str, MONITORING_INTERVALS_S))}"
    elif bool(interval_s) != bool(replica.options.get("monitoring_role_arn")):
        yield "monitoring_interval_s and monitoring_role_arn go together; write both, or neither"


WORDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list of texts"}
