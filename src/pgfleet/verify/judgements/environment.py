"""Are the environment variables configured correctly?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pgfleet.core.words import counted
from pgfleet.settings.environment import read_environment
from pgfleet.settings.source import FILE
from pgfleet.settings.strays import lookalikes, strays
from pgfleet.verify.items import Item, judged

GUIDE = (
    "REPLICA_HEALTH_CHECK_INTERVAL",
    "DB_MAX_CONNECTIONS",
    "DB_MIN_CONNECTIONS",
    "DB_MAX_IDLE_TIME",
    "DB_MAX_LIFETIME",
    "DB_CONNECTION_TIMEOUT",
    "DB_QUERY_TIMEOUT",
)
"""What a deployment sets beside the addresses. Each has a default."""
SWITCH = "USE_READ_REPLICAS"
NEXT_STEP = (
    "Mend these where the application's environment is written; docs/reference/environment.md has each."
)


def environment_item(environ: Mapping[str, str]) -> Item:
    """Every problem at once, by the variable's name and without its value."""
    fields, wrong = read_environment(environ)
    problems = [*wrong, *_missing(fields), *_strays(environ)]
    evidence = [*_places(fields), _of_the_guide(environ), *_lookalikes(environ)]
    figures = {"problems": problems, "replicas": len(fields["replicas"])}
    return judged("environment", problems, evidence, NEXT_STEP, figures)


def _missing(fields: Mapping[str, Any]) -> Iterator[str]:
    if fields.get("use_replicas") is not True:
        yield f"{SWITCH}: is not true, so every read goes to the primary; write {SWITCH}=true"
    if not fields["replicas"] and not fields.get("discovery"):
        yield "READ_REPLICA_1_CONNECTION_STRING: is not set, and neither a fleet file nor discovery names a replica"


def _strays(environ: Mapping[str, str]) -> Iterator[str]:
    for name, nearest in strays(environ).items():
        yield f"{name}: nothing reads it" + (f"; did you mean {nearest}?" if nearest else "; remove it")


def _places(fields: Mapping[str, Any]) -> Iterator[str]:
    replicas = fields["replicas"]
    named = sum(node.variable.endswith("CONNECTION_STRING") for node in replicas)
    told = [f"{counted(named, 'replica')} in the environment"] if named else []
    told += [f"{len(replicas) - named} in the fleet file"] if len(replicas) > named else []
    told += ["more by discovery"] if fields.get("discovery") else []
    if fields["primary"]:
        yield "DATABASE_URL is set" + (f"; {', '.join(told)}" if told else "")


def _of_the_guide(environ: Mapping[str, str]) -> str:
    there = [name for name in GUIDE if environ.get(name) or environ.get(name + FILE)]
    if len(there) == len(GUIDE):
        return "every other setting of the guide is set"
    return f"{len(GUIDE) - len(there)} of the guide's {len(GUIDE)} other settings have their defaults"


def _lookalikes(environ: Mapping[str, str]) -> Iterator[str]:
    for name, ours in lookalikes(environ).items():
        yield f"{name} is not ours, but looks like {ours}, which is not set"
