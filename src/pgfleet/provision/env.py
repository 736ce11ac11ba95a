"""The environment of an application that uses the fleet, in the ways in which environments are written."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from pgfleet.errors import ProvisionError
from pgfleet.provision.declaration import WantedReplica
from pgfleet.provision.dsns import at
from pgfleet.provision.provider import Endpoint
from pgfleet.settings import Dsn
from pgfleet.settings.replica_names import numbered
from pgfleet.settings.variables import CONNECTION_STRING, DATABASE_URL, FLEET_FILE, REPLICA_PREFIX

SETTINGS = {
    "REPLICA_HEALTH_CHECK_INTERVAL": "30000",
    "DB_MAX_CONNECTIONS": "100",
    "DB_MIN_CONNECTIONS": "10",
    "DB_MAX_IDLE_TIME": "10m",
    "DB_MAX_LIFETIME": "1h",
    "DB_CONNECTION_TIMEOUT": "30s",
    "DB_QUERY_TIMEOUT": "60s",
}
Environment = Mapping[str, str]


class Format(StrEnum):
    """A way to write an environment."""

    DOTENV = "dotenv"
    """A line each, which a shell reads too."""
    ENCORE = "encore"
    """`encore secret set --prod NAME value`."""
    ENCORE_STDIN = "encore-stdin"
    """The same with the value on standard input, where Encore's own command line reads it."""
    K8S = "k8s"
    """A Secret; with files, a Secret of the files and a ConfigMap of the rest."""


def environment(
    dsn: Dsn, replicas: Sequence[WantedReplica], endpoints: Sequence[Endpoint], fleet_file: str = ""
) -> dict[str, str]:
    """The variables, in order. A replica that has no endpoint yet keeps its number for later.

    With a fleet file the replicas are left to it: those that stand in both would be there twice.
    """
    places = {endpoint.name: endpoint for endpoint in endpoints}
    variables = {"USE_READ_REPLICAS": "true"}
    numbers = numbered(replica.name for replica in replicas)
    if fleet_file:
        variables[FLEET_FILE] = fleet_file
    for replica in () if fleet_file else replicas:
        if endpoint := places.get(replica.name):
            variables |= _replica(replica, numbers[replica.name], at(dsn, endpoint))
    return {**variables, **SETTINGS, DATABASE_URL: dsn.reveal()}


def _replica(replica: WantedReplica, number: int, dsn: Dsn) -> dict[str, str]:
    """Its connection string, and of the rest what differs from what goes without saying."""
    prefix = f"{REPLICA_PREFIX}{number}_"
    variables = {f"{prefix}{CONNECTION_STRING}": dsn.reveal()}
    if replica.name != f"replica-{number}":
        variables[f"{prefix}NAME"] = replica.name
    if replica.weight != 1:
        variables[f"{prefix}WEIGHT"] = str(replica.weight)
    if replica.zone:
        variables[f"{prefix}ZONE"] = replica.zone
    return variables


def is_secret(name: str) -> bool:
    """Whether a variable of this block holds a password."""
    return name == DATABASE_URL or name.endswith(CONNECTION_STRING)


def as_files(variables: Environment, directory: str) -> tuple[dict[str, str], dict[str, str]]:
    """The secrets by the names of their files, and the variables with `NAME_FILE=directory/name` in their places."""
    files = {name.lower(): value for name, value in variables.items() if is_secret(name)}
    left = {
        f"{name}_FILE" if is_secret(name) else name: f"{directory}/{name.lower()}"
        if is_secret(name)
        else value
        for name, value in variables.items()
    }
    return files, left


def write_files(files: Mapping[str, str], directory: Path) -> None:
    """Write each for its owner's eyes only, in the place of an older one. Raises ProvisionError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, value in files.items():
            _write(directory / name, value)
    except OSError as error:
        raise ProvisionError(
            f"{directory}: cannot be written ({error.strerror})", "name another directory with --as-files"
        ) from None


def _write(path: Path, value: str) -> None:
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(value + "\n")
    scratch.replace(path)


def written(variables: Environment, way: Format, fleet: str) -> str:
    """The block as a text. `fleet` names the Secret of Kubernetes."""
    if way is Format.K8S:
        return _manifest("Secret", fleet, "stringData", variables)
    line: Callable[[str, str], str] = {
        Format.DOTENV: _dotenv,
        Format.ENCORE: _encore,
        Format.ENCORE_STDIN: _encore_stdin,
    }[way]
    return "".join(line(name, value) + "\n" for name, value in variables.items())


def written_files(files: Mapping[str, str], variables: Environment, fleet: str) -> str:
    """For Kubernetes: the Secret to be mounted where the variables say, and the ConfigMap of these."""
    return (
        _manifest("Secret", fleet, "stringData", files)
        + "---\n"
        + _manifest("ConfigMap", fleet, "data", variables)
    )


def _dotenv(name: str, value: str) -> str:
    return f"{name}={shlex.quote(value)}"


def _encore(name: str, value: str) -> str:
    return f"encore secret set --prod {name} {_quoted(value)}"


def _encore_stdin(name: str, value: str) -> str:
    return f"printf %s {_quoted(value)} | encore secret set --type prod {name}"


def _quoted(value: str) -> str:
    """For a shell, in double quotes as people write it, unless a character in them would be more than itself."""
    if re.fullmatch(r"[\w.-]+", value, re.ASCII):
        return value
    return shlex.quote(value) if re.search(r'[!"$`\\]', value) else f'"{value}"'


def _manifest(kind: str, fleet: str, key: str, values: Mapping[str, str]) -> str:
    """YAML, each value in double quotes: `true` and `30000` are texts here."""
    lines = [
        "apiVersion: v1",
        f"kind: {kind}",
        "metadata:",
        f"  name: {fleet}-read-replicas",
        *(["type: Opaque"] if kind == "Secret" else []),
        f"{key}:",
        *(f"  {name}: {_yaml(value)}" for name, value in values.items()),
    ]
    return "\n".join(lines) + "\n"


def _yaml(value: str) -> str:
    """Whatever could be more than itself is escaped by its number."""
    plain = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
    return f'"{"".join(plain)}"'
