"""A drill as JSON."""

from __future__ import annotations

from dataclasses import asdict
from math import inf
from typing import Any

from pgfleet.cli.output import camel_case
from pgfleet.drill.promises import Verdict
from pgfleet.drill.run import Drill
from pgfleet.drill.summary import summary


def record(drill: Drill) -> Any:
    """All of it, with the names of the monitoring API. What never came is null."""
    found = summary(drill.record)
    conditions = {"drill": drill.name, "kept": drill.is_kept} | asdict(drill.options)
    promises = [_promise(verdict) for verdict in drill.verdicts]
    return camel_case(
        _finite(
            conditions
            | asdict(found)
            | {"facts": _facts(drill), "stale_bound_s": drill.record.bound_s, "promises": promises}
        )
    )


def _facts(drill: Drill) -> dict[str, float]:
    return {name.replace(" ", "_"): value for name, value in drill.record.facts.items()}


def _promise(verdict: Verdict) -> dict[str, Any]:
    promise = verdict.promise
    return {
        "name": promise.name,
        "what": promise.what,
        "unit": promise.unit,
        "value": verdict.value,
        "limit": promise.limit,
        "at_least": promise.at_least,
        "kept": verdict.is_kept,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if value in (inf, -inf) else value
