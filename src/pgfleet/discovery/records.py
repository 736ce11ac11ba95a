"""DNS records as servers: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pgfleet.core.membership import Found
from pgfleet.discovery.names import node_name

POSTGRES_PORT = 5432
MOST_WEIGHT = 100
SHORTEST_S = 1.0
"""A TTL of 0 means that nobody may keep the answer, not that the name server wants to be asked without a pause."""
LONGEST_S = 60.0
"""A TTL of a day would hide a new replica for a day."""


class SrvRecord(NamedTuple):
    """One SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


def interval_s(ttl_s: int) -> float:
    """How long an answer of this time to live is good, within bounds of ours."""
    return min(max(float(ttl_s), SHORTEST_S), LONGEST_S)


def of_addresses(addresses: Iterable[str], port: int) -> tuple[Found, ...]:
    """A server for each address, in an order that does not turn with the answer's."""
    return tuple(Found(_name(address, port), address, port) for address in sorted(set(addresses)))


def of_srv(records: Iterable[SrvRecord]) -> tuple[Found, ...]:
    """A server for each target. Those of the lowest priority take the reads, by weight; the others are watched.

    A target `.` means that the service is not there.
    """
    usable = sorted({record for record in records if record.target.rstrip(".")})
    if not usable:
        return ()
    first = usable[0].priority
    heaviest = max(record.weight for record in usable if record.priority == first)
    return tuple(
        Found(
            _name(record.target, record.port),
            record.target.rstrip("."),
            record.port,
            weight=_weight(record.weight, heaviest),
            takes_reads=record.priority == first,
        )
        for record in _one_a_server(usable)
    )


def _one_a_server(records: Sequence[SrvRecord]) -> Iterable[SrvRecord]:
    """Of two records of one server the one of the lower priority."""
    by_server = {(record.target.lower(), record.port): record for record in reversed(records)}
    return sorted(by_server.values())


def _weight(weight: int, heaviest: int) -> int:
    """0 to 65535 as 1 to 100, unchanged where it fits."""
    scaled = weight if heaviest <= MOST_WEIGHT else round(weight * MOST_WEIGHT / heaviest)
    return min(max(scaled, 1), MOST_WEIGHT)


def _name(host: str, port: int) -> str:
    """The host, and its port if that is an unusual one: another server that comes or goes renames nobody."""
    plain = host.rstrip(".")
    return node_name(plain if port == POSTGRES_PORT else f"{plain}-{port}")
