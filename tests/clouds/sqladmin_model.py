"""The published model of Google's Cloud SQL Admin API, which requests and answers are held to.

It is the discovery document that Google's own client carries: methods with their paths and parameters, and schemas.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import googleapiclient

DOCUMENT = Path(googleapiclient.__file__).parent / "discovery_cache/documents/sqladmin.v1.json"
KINDS: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}

Json = dict[str, Any]


@cache
def document() -> Json:
    """Google's description of the API."""
    described: Json = json.loads(DOCUMENT.read_text())
    return described


class Refused(Exception):
    """An answer that is no 200."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.body = {
            "error": {
                "code": status,
                "message": message,
                "errors": [{"message": message, "domain": "global", "reason": reason}],
            }
        }


def invalid(message: str) -> Refused:
    """A request that the API does not take."""
    return Refused(400, "invalid", message)


def check(value: Any, schema: Json, where: str, *, is_request: bool) -> None:
    """Hold a value to a schema of the document. Raises Refused."""
    if schema.get("readOnly") and is_request:
        raise invalid(f"{where} is for output only")
    if "$ref" in schema:
        schema = document()["schemas"][schema["$ref"]]
    if type(value) is not KINDS[schema["type"]]:
        raise invalid(f"{where} is no {schema['type']}: {value!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise invalid(f"{where} has no value {value!r}")
    if schema.get("format") == "int64" and not re.fullmatch(r"-?\d+", str(value)):
        raise invalid(f"{where} is no int64: {value!r}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            check(item, schema["items"], f"{where}[{number}]", is_request=is_request)
    if isinstance(value, dict):
        _check_fields(value, schema, where, is_request=is_request)


def _check_fields(value: Json, schema: Json, where: str, *, is_request: bool) -> None:
    for key, item in value.items():
        known = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
        if known is None:
            raise invalid(f'Unknown name "{key}" at {where}')
        check(item, known, f"{where}.{key}", is_request=is_request)


class Method(NamedTuple):
    """One of the API."""

    verb: str
    name: str
    path: re.Pattern[str]
    described: Json


@cache
def methods() -> list[Method]:
    """Everything that the API can."""
    return [
        Method(told["httpMethod"], f"{resource}.{name}", _pattern(told["path"]), told)
        for resource, described in document()["resources"].items()
        for name, told in described.get("methods", {}).items()
    ]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("/" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


def asked(verb: str, path: str) -> tuple[Method, dict[str, str]]:
    """The method that a request is, and what its path says. Raises Refused."""
    for method in methods():
        if method.verb == verb and (found := method.path.fullmatch(path)):
            return method, found.groupdict()
    raise Refused(404, "notFound", f"{verb} {path} is no method of the API")
