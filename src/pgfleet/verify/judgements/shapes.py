"""The JSON of the monitoring API, as the guide has it. More keys are allowed, missing ones are not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "/v1/system/database"
HEALTH = f"{PREFIX}/replicas/health"
LAG = f"{PREFIX}/replicas/lag"
POOLS = f"{PREFIX}/connection-pool/stats"
REPLICATION = f"{PREFIX}/replicas/replication"
DISTRIBUTION = f"{PREFIX}/queries/distribution"
EXPLAIN = f"{PREFIX}/routing/explain"
OPENAPI = "/openapi.json"
DOCUMENTED = (
    HEALTH,
    LAG,
    POOLS,
    REPLICATION,
    DISTRIBUTION,
    EXPLAIN,
    "/nodes/{name}/primary",
    "/nodes/{name}/replica",
    "/nodes/{name}/health",
    "/primary",
    "/replica",
    "/liveness",
    "/readiness",
)
"""What the description of the API must have."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True, slots=True)
class Text:
    """A text of this form."""

    form: re.Pattern[str]
    said: str


@dataclass(frozen=True, slots=True)
class Each:
    """A list of these, or an object of these by name."""

    kind: type
    shape: Any


TIMESTAMP = Text(_TIME, "a time such as 2026-01-31T09:30:00.000Z")
STATUS = Text(re.compile("healthy|warning|critical|unhealthy|unknown"), "a status")
NUMBER = (int, float)
CONNECTIONS = {"total_connections": int, "active_connections": int, "idle_connections": int}
COUNT = (int, type(None))

SHAPES: Mapping[str, Any] = {
    HEALTH: {
        "healthy": bool,
        "timestamp": TIMESTAMP,
        "replicasEnabled": bool,
        "replicaCount": int,
        "message": str,
    },
    LAG: {
        "timestamp": TIMESTAMP,
        "replicas": Each(list, {"name": str, "lagSeconds": (*NUMBER, type(None)), "status": STATUS}),
    },
    POOLS: {"timestamp": TIMESTAMP, "primary": CONNECTIONS, "replicas": Each(dict, CONNECTIONS)},
    DISTRIBUTION: {
        "primary": {"reads": COUNT, "writes": COUNT},
        "replicas": Each(dict, {"reads": COUNT}),
        "replicaReadShare": (*NUMBER, type(None)),
    },
}
"""By path, of those whose shape the guide tells."""


def misfits(shape: Any, value: Any, place: str = "the answer") -> Iterator[str]:
    """Where a value is not of this shape."""
    if isinstance(shape, Mapping):
        yield from _misfits_of_keys(shape, value, place)
    elif isinstance(shape, Each):
        yield from _misfits_of_each(shape, value, place)
    elif isinstance(shape, Text):
        if not (isinstance(value, str) and shape.form.fullmatch(value)):
            yield f"{place} is not {shape.said}"
    elif not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
        yield f"{place} is {_kind(value)}"


def _misfits_of_keys(shape: Mapping[str, Any], value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place} is {_kind(value)}, not an object"
        return
    for key, inner in shape.items():
        if key in value:
            yield from misfits(inner, value[key], key)
        else:
            yield f"{place} has no {key}"


def _misfits_of_each(shape: Each, value: Any, place: str) -> Iterator[str]:
    if not _is(value, shape.kind):
        yield f"{place} is {_kind(value)}"
        return
    entries: Any = value.values() if shape.kind is dict else value
    for inner in entries:
        yield from misfits(shape.shape, inner, f"an entry of {place}")


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
