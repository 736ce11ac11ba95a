"""Patroni's `/cluster` as servers: values in, values out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pgfleet.core.membership import Found
from pgfleet.discovery.names import node_name


def read_cluster(body: bytes) -> tuple[Found, ...]:
    """Every member that says where its PostgreSQL is, by Patroni's names. Raises ValueError when it is no such answer.

    Roles and states are left aside: the probes ask the servers themselves, and are sooner right. A member that is down
    stays a member. `noloadbalance` keeps reads away; `nofailover` is about promotions and says nothing of reads.
    """
    try:
        members = json.loads(body)["members"]
        found = tuple(_found(members))
    except (ValueError, TypeError, LookupError, AttributeError):
        raise ValueError("does not answer as Patroni's /cluster does") from None
    if not found:
        raise ValueError("knows no member with an address")
    return found


def _found(members: list[dict[str, Any]]) -> Iterator[Found]:
    for member in members:
        host, port = member.get("host"), member.get("port")
        if host and port:  # one that has not started yet has none
            tags = member.get("tags") or {}
            yield Found(
                node_name(member["name"]),
                host,
                int(port),
                takes_reads=not _is_true(tags.get("noloadbalance")),
            )


def _is_true(tag: object) -> bool:
    """As Patroni reads a tag that somebody may have quoted in YAML."""
    return tag is True or str(tag).lower() in ("true", "on", "yes", "1")
