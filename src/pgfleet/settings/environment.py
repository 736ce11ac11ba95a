"""The environment -> the fields of `Settings`, and everything that is wrong with them, in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgfleet.settings.conninfo import EXAMPLE
from pgfleet.settings.fleet_file import read_fleet_file
from pgfleet.settings.node import PRIMARY, NodeSettings, fleet_problems, with_bounds
from pgfleet.settings.replica_names import misnamed, replica_numbers
from pgfleet.settings.source import Source
from pgfleet.settings.variables import (
    CONNECTION_STRING,
    DATABASE_PROBE_URL,
    DATABASE_READ_URL,
    DATABASE_URL,
    GENERAL,
    OF_PRIMARY,
    OF_REPLICA,
    PROBE_URL,
    REPLICA_PREFIX,
    Variable,
)


def read_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields of `Settings` that `environ` sets, and the problems, a line each. With a problem, use none of them."""
    source = Source(environ)
    primary = _primary(source)
    fallback_dsn = source.dsn(DATABASE_READ_URL)
    replicas = tuple(node for number in replica_numbers(source.names()) if (node := _replica(source, number)))
    source.problems |= misnamed(source.names())
    fields = _values(source, GENERAL)
    problems = [f"{name}: {complaint}" for name, complaint in source.problems.items()]
    in_file, wrong = read_fleet_file(fields["fleet_file"]) if "fleet_file" in fields else ((), ())
    replicas += in_file
    problems += wrong
    problems += (
        line
        for line in fleet_problems(primary, replicas, fields.get("pooler", "none"))
        if not _is_told(source, line.partition(":")[0])
    )
    return {"primary": primary, "replicas": replicas, "fallback_dsn": fallback_dsn, **fields}, tuple(problems)


def _primary(source: Source) -> NodeSettings | None:
    values = with_bounds(_values(source, OF_PRIMARY), 100, 10)
    dsn = source.dsn(DATABASE_URL)
    if dsn is None:
        _require(source, DATABASE_URL, f"is not set; write the primary's address into it: {EXAMPLE}")
        return None
    probe_dsn = source.dsn(DATABASE_PROBE_URL)
    return NodeSettings(PRIMARY, dsn, probe_dsn=probe_dsn, variable=DATABASE_URL, **values)


def _replica(source: Source, number: int) -> NodeSettings | None:
    prefix = f"{REPLICA_PREFIX}{number}_"
    variable = prefix + CONNECTION_STRING
    if source.is_blank(variable):
        return None  # switched off, with all that belongs to it
    dsn = source.dsn(variable)
    values = with_bounds(_values(source, OF_REPLICA, prefix))
    if dsn is None:
        other = min(name for name in source.names() if name.startswith(prefix))
        _require(source, variable, f"is not set, but {other} is; write {EXAMPLE}, or remove {other}")
        return None
    fields: dict[str, Any] = {"name": f"replica-{number}", **values}
    return NodeSettings(dsn=dsn, probe_dsn=source.dsn(prefix + PROBE_URL), variable=variable, **fields)


def _values(source: Source, variables: Iterable[Variable], prefix: str = "") -> dict[str, Any]:
    found = {variable.field: source.value(prefix + variable.name, variable.kind) for variable in variables}
    return {field: value for field, value in found.items() if value is not None}


def _require(source: Source, variable: str, complaint: str) -> None:
    if not _is_told(source, variable):
        source.problems[variable] = complaint


def _is_told(source: Source, variable: str) -> bool:
    return bool({variable, f"{variable}_FILE"} & source.problems.keys())
