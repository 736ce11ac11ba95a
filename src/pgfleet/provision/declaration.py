"""What `fleet.toml` says, as values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class WantedReplica:
    """One `[[replica]]`."""

    name: str
    zone: str = ""
    """Where it is to stand, in the platform's words; empty: as the platform chooses."""
    instance_class: str = ""
    """`class`: `db.r5.xlarge`, `db-custom-4-15360`; empty: as the primary's."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags or labels, beside the mark of ownership."""
    weight: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    """What only its provider knows: the keys that it names as its own, checked to be no others."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """One fleet, as it is wanted."""

    name: str
    """`[fleet] name`: the mark that what the file owns bears. Lower-case letters, digits and `-`."""
    provider: str
    """`[provider] kind`: selfhosted, rds, cloudsql, local."""
    replicas: tuple[WantedReplica, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    """The other keys of `[provider]`: region, project, endpoint."""
    primary: Mapping[str, Any] = field(default_factory=dict)
    """`[primary]`: how the provider finds the server that is copied, and `dsn_env` or `dsn_file`."""
    directory: str = ""
    """Where the file stands: a relative path in it starts there."""
    register: str = ""
    """`[fleet] register`: the fleet file into which the replicas are written, absolute; empty: PGFLEET_FLEET_FILE."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that a provider knows, beside those that all know. `plan` names every other one."""

    provider: frozenset[str] = frozenset()
    primary: frozenset[str] = frozenset()
    replica: frozenset[str] = frozenset()


def not_texts(table: str, values: Mapping[str, Any], keys: Iterable[str]) -> Iterator[str]:
    """What is wrong with those of the keys whose values must be texts and are not."""
    for key in keys:
        if not isinstance(values.get(key, ""), str):
            yield f'[{table}] {key}: is not a text; write {key} = "..."'
