"""Amazon RDS in one region, by boto3. It blocks; a client may be shared by threads."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pgfleet.clouds.aws_failures import explained
from pgfleet.clouds.failure import CHECK, ApiFailure

ATTEMPTS = 8
CONNECT_S = 5
ANSWER_S = 30.0
KEYS = {
    "AWS_ACCESS_KEY_ID": "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    "AWS_SESSION_TOKEN": "aws_session_token",
}
"""By variable the argument of a session. What is not set, boto3 looks for where it always does."""
PAIR = {"aws_access_key_id", "aws_secret_access_key"}
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")


class Rds:
    """One client. Throttling, lost connections and 5xx are tried again, with growing pauses; nothing else is.

    An empty region is that of the environment or the profile: boto3 itself does not look at `AWS_REGION`.
    """

    def __init__(
        self,
        region: str,
        environ: Mapping[str, str],
        *,
        profile: str = "",
        endpoint: str = "",
        attempts: int = ATTEMPTS,
        answer_s: float = ANSWER_S,
    ) -> None:
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=CONNECT_S,
            read_timeout=answer_s,
        )
        try:
            named = region or region_of(environ, profile)
            session = boto3.Session(region_name=named or None, **_identity(environ, profile))
            self.client = session.client("rds", endpoint_url=endpoint or None, config=config)
        except BotoCoreError as error:
            raise explained(error) from error
        except ValueError as error:  # such as an endpoint that is no address
            raise ApiFailure(f"AWS cannot be asked so: {error}", CHECK) from error
        self.region = str(self.client.meta.region_name)

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """What an operation answers, by its own name: `call("DescribeDBInstances", ...)`. Raises ApiFailure."""
        try:
            answer: dict[str, Any] = getattr(self.client, xform_name(operation))(**parameters)
        except (BotoCoreError, ClientError) as error:
            raise explained(error) from error
        return answer

    def listed(self, operation: str, key: str, **parameters: Any) -> list[dict[str, Any]]:
        """What all pages of an operation list under `key`. Raises ApiFailure."""
        pages = self.client.get_paginator(xform_name(operation)).paginate(**parameters)
        try:
            return [item for page in pages for item in page[key]]
        except (BotoCoreError, ClientError) as error:
            raise explained(error) from error

    def close(self) -> None:
        """End its connections."""
        self.client.close()


@cache
def regions() -> frozenset[str]:
    """Those that RDS has, as far as the installed boto3 has heard."""
    session = boto3.Session()
    partitions = session.get_available_partitions()
    return frozenset(region for one in partitions for region in session.get_available_regions("rds", one))


def region_of(environ: Mapping[str, str], profile: str) -> str:
    """The region that the environment or the profile names; empty: neither does."""
    named = next((environ[name] for name in REGION_VARIABLES if environ.get(name)), "")
    try:
        return named or boto3.Session(**_identity(environ, profile)).region_name or ""
    except BotoCoreError:  # no such profile: whoever opens a client is told
        return ""


def command_line(region: str, operation: str, parameters: Mapping[str, Any]) -> str:
    """The `aws` command that does the same as a call."""
    words = ["aws", "rds", xform_name(operation, "-"), "--region", region]
    for name, value in parameters.items():
        words += _option(xform_name(name, "-"), value)
    return shlex.join(words)


def _option(name: str, value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
        return
    yield f"--{name}"
    for item in value if isinstance(value, (list, tuple)) else (value,):
        yield (
            ",".join(f"{key}={_quoted(part)}" for key, part in item.items())
            if isinstance(item, dict)
            else str(item)
        )


def _quoted(text: str) -> str:
    """A value in the shorthand syntax, where a comma would begin the next key."""
    if any(mark in text for mark in ",\"' ="):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def _identity(environ: Mapping[str, str], profile: str) -> dict[str, str]:
    """Who asks: the profile of the file, else the keys of the environment, else the profile that it names."""
    if profile:
        return {"profile_name": profile}
    keys = {argument: environ[name] for name, argument in KEYS.items() if environ.get(name)}
    if keys.keys() >= PAIR:
        return keys
    named = environ.get("AWS_PROFILE", "")
    return (
        {"profile_name": named} if named else {}
    )  # half a pair is left to boto3, which names what is missing
