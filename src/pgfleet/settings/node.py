"""The settings of one server, and everything that may be wrong with a fleet of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgfleet.settings.dsn import Dsn
from pgfleet.settings.kinds import BOOLEAN, NAME
from pgfleet.settings.variables import (
    CONNECTION_STRING,
    DATABASE_PROBE_URL,
    DATABASE_URL,
    DISCOVERY,
    FLEET_FILE,
    OF_REPLICA,
    PROBE_URL,
)

PRIMARY = "primary"
ELSEWHERE = (f"{FLEET_FILE} ", f"{DISCOVERY} ")
"""Begins the `variable` of a node that is not in the environment: the source, and the node's place in it."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One server: where it is, what to call it, how much of it to use.

    `password` is asked at each connect, in place of the one in `dsn`: for tokens that expire and secrets that rotate.
    Nodes are checked together, when `Settings` are made of them.
    """

    name: str
    dsn: Dsn
    weight: int = 1
    """Its part of the reads, against the weights of the others."""
    zone: str | None = None
    max_connections: int = 50
    min_connections: int = 5
    variable: str = ""
    """The variable that `dsn` came from; empty: given in code."""
    password: Callable[[], str] | None = field(default=None, repr=False)
    draining: bool = False
    """It takes no new read."""
    probe_dsn: Dsn | None = None
    """The server itself, for the probes, where `dsn` leads to a pooler in front of it; None: `dsn` is the server."""
    shared_endpoint: bool = False
    """`dsn` leads to several replicas, each connection to one of them: reads are checked on the connection itself."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A node, and what its settings are called where they were written."""

    node: NodeSettings
    in_code: str

    def label(self, attribute: str) -> str:
        variable = self.node.variable
        if variable.startswith(ELSEWHERE):
            return f"{variable}.{attribute}"
        if variable and attribute == "dsn":
            return variable
        if variable and attribute == "probe_dsn":
            own = variable.removesuffix(CONNECTION_STRING)
            return DATABASE_PROBE_URL if variable == DATABASE_URL else own + PROBE_URL
        if variable.endswith(CONNECTION_STRING):
            return variable.removesuffix(CONNECTION_STRING) + attribute.upper()
        if variable == DATABASE_URL:
            return f"DB_{attribute.upper()}"
        return f"{self.in_code}.{attribute}"


def with_bounds(values: dict[str, Any], most: int = 50, least: int = 5) -> dict[str, Any]:
    """With both bounds of a pool: a minimum that nobody chose gives way to the maximum that somebody did."""
    most = values.get("max_connections", most)
    least = min(least, most) if isinstance(most, int) else least
    return {"max_connections": most, "min_connections": least} | values


def fleet_problems(
    primary: NodeSettings | None, replicas: Sequence[NodeSettings], pooler: str = "none"
) -> Iterator[str]:
    """What is wrong with these nodes, alone and together, a line each. `primary` None: it could not be read."""
    places = [_Place(primary, PRIMARY)] if primary else []
    places += [_Place(replica, f"replicas[{index}]") for index, replica in enumerate(replicas)]
    for place in places:
        yield from _own_problems(place)
    yield from _name_problems(places)
    yield from _server_problems(places)
    yield from _probe_problems(places, pooler)


def _own_problems(place: _Place) -> Iterator[str]:
    node = place.node
    complaints = [(known.field, known.kind.complaint(getattr(node, known.field))) for known in OF_REPLICA]
    complaints.append(("draining", BOOLEAN.complaint(node.draining)))
    if place.in_code == PRIMARY and node.draining is True:
        complaints.append(("draining", "the primary cannot be drained; write False"))
    if place.in_code == PRIMARY and node.shared_endpoint is True:
        complaints.append(("shared_endpoint", "the primary is one server; write False"))
    wrong = [f"{place.label(name)}: {complaint}" for name, complaint in complaints if complaint]
    yield from wrong
    if not wrong and node.min_connections > node.max_connections:
        yield (
            f"{place.label('min_connections')}: {node.min_connections} is above the maximum of "
            f"{node.max_connections}; lower it, or raise {place.label('max_connections')}"
        )


def _name_problems(places: Sequence[_Place]) -> Iterator[str]:
    owners: dict[str, _Place] = {}
    for place in places:
        name = place.node.name
        if NAME.complaint(name):
            continue  # told already, and not fit to be quoted
        if owners.setdefault(name, place) is not place:
            owner = owners[name].label("dsn")
            yield f"{place.label('name')}: '{name}' is already the name of {owner}; write a name of its own"
        elif name == PRIMARY and place.in_code != PRIMARY:
            yield f"{place.label('name')}: '{PRIMARY}' is the primary's name; write another"


def _server_problems(places: Sequence[_Place]) -> Iterator[str]:
    owners: dict[object, _Place] = {}
    for place in places:
        owner = owners.setdefault(place.node.dsn.server, place)
        if owner is not place:
            same = f"is the same server and database as {owner.label('dsn')}"
            yield f"{place.label('dsn')}: {same}; write another server's address, or remove it"


def _probe_problems(places: Sequence[_Place], pooler: str) -> Iterator[str]:
    owners: dict[object, _Place] = {}
    for place in places:
        probe_dsn = place.node.probe_dsn
        if place.node.shared_endpoint is True and pooler != "none":
            yield (
                f"{place.label('shared_endpoint')}: through a pooler no connection stays with one server; "
                "list the servers, each with its pooler and its address for probes"
            )
        owner = owners.setdefault((probe_dsn or place.node.dsn).server, place)
        if probe_dsn is None and pooler != "none":
            yield (
                f"{place.label('probe_dsn')}: is not set, but nodes are behind poolers; "
                "write the server's own address into it, for the probes"
            )
        elif probe_dsn and owner is not place:
            yield f"{place.label('probe_dsn')}: leads to the same server as {owner.label('probe_dsn')}; write another"
