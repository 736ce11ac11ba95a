"""What does the same by hand. Labels are known to `gcloud beta` only."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from pgfleet.clouds.cloudsql import Instance

START = "--activation-policy=ALWAYS"


def creation(project: str, body: Mapping[str, Any]) -> str:
    """`gcloud beta sql instances create`, which waits."""
    words = [body["name"], f"--project={project}", f"--master-instance-name={body['masterInstanceName']}"]
    return _line(
        "beta sql instances create", [*words, f"--region={body['region']}", *_settings(body, "labels")]
    )


def alteration(project: str, name: str, body: Mapping[str, Any]) -> str:
    """`gcloud beta sql instances patch`, which waits."""
    words = [name, f"--project={project}", "--quiet", *_settings(body, "update-labels")]
    return _line("beta sql instances patch", words)


def patch(instance: Instance, option: str) -> str:
    """`gcloud sql instances patch` with one option, for somebody who mends an instance."""
    return _line("sql instances patch", [instance.name, f"--project={instance.project}", option])


def removal(project: str, name: str) -> str:
    """`gcloud sql instances delete`."""
    return _line("sql instances delete", [name, f"--project={project}", "--quiet"])


def promotion(project: str, name: str) -> str:
    """`gcloud sql instances promote-replica`."""
    return _line("sql instances promote-replica", [name, f"--project={project}", "--quiet"])


def description(instance: Instance) -> str:
    """`gcloud sql instances describe`, for somebody who waits."""
    return _line(
        "sql instances describe", [instance.name, f"--project={instance.project}", "--format=value(state)"]
    )


def _line(command: str, words: list[str]) -> str:
    return shlex.join(["gcloud", *command.split(), *words])


def _settings(body: Mapping[str, Any], labels: str) -> Iterator[str]:
    settings: Mapping[str, Any] = body["settings"]
    if tier := settings.get("tier"):
        yield f"--tier={tier}"
    if availability := settings.get("availabilityType"):
        yield f"--availability-type={availability}"
    if edition := settings.get("edition"):
        yield f"--edition={edition.lower().replace('_', '-')}"
    if place := settings.get("locationPreference"):
        yield f"--zone={place['zone']}"
    yield from _network(settings.get("ipConfiguration") or {})
    if named := settings.get("userLabels"):
        yield f"--{labels}={_pairs(named)}"
    if flags := settings.get("databaseFlags"):
        yield f"--database-flags={_pairs({flag['name']: flag.get('value', '') for flag in flags})}"


def _network(said: Mapping[str, Any]) -> Iterator[str]:
    if "ipv4Enabled" in said:
        yield "--assign-ip" if said["ipv4Enabled"] else "--no-assign-ip"
    if "privateNetwork" in said:
        yield f"--network={said['privateNetwork']}"
    if "sslMode" in said:
        yield f"--ssl-mode={said['sslMode']}"


def _pairs(named: Mapping[str, str]) -> str:
    """With another delimiter where a value holds a comma (`gcloud topic escaping`)."""
    pairs = [f"{key}={value}" for key, value in named.items()]
    return "^~^" + "~".join(pairs) if any("," in pair for pair in pairs) else ",".join(pairs)
