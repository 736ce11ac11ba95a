"""`pgfleet status`: how every node is, in a table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pgfleet.aio import AsyncReplicaRouter

CONNECTIONS_SQL = (
    "select sum(numbackends)::int, current_setting('max_connections')::int from pg_stat_database"
)
CONNECTIONS_TIMEOUT_S = 1.0
NO_CONNECTIONS = {"connections": None, "maxConnections": None}

Json = dict[str, Any]


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show how every node is: role, health, lag, connections, and whether it takes reads.

    Exit code 1 when a replica is not healthy or no primary answers.
    """
    from pgfleet.cli.output import print_json

    fleet = asyncio.run(_look())
    if as_json:
        print_json(fleet)
    else:
        _print_table(fleet)
    if not fleet["healthy"]:
        raise typer.Exit(1)


async def _look() -> Json:
    from pgfleet.cli.environment import fleet_of_environment

    async with fleet_of_environment() as router:
        names = [node.name for node in router.topology.nodes]
        connections = await asyncio.gather(*(_connections(router, name) for name in names))
        return _report(router, dict(zip(names, connections, strict=True)))


async def _connections(router: AsyncReplicaRouter[Any], name: str) -> Json:
    """How many client connections a server has, ours among them; unknown when it does not say so at once."""
    used, limit = None, None
    if not router.topology.node(name).trouble:
        try:
            async with asyncio.timeout(CONNECTIONS_TIMEOUT_S):
                (used, limit), *_ = await router.engine.fetch_from(name, CONNECTIONS_SQL)
        except Exception:  # noqa: S110 (a figure beside others, which tell already how the node is)
            pass
    return {"connections": used, "maxConnections": limit}


def _report(router: AsyncReplicaRouter[Any], connections: dict[str, Json]) -> Json:
    """What the router knows, in the words of the monitoring API, and the servers' connections."""
    from pgfleet.cli.output import timestamp
    from pgfleet.core.report import explanation_report, health_report

    now, topology = timestamp(), router.topology
    health = health_report(topology, now)
    if topology.primary_name is None:
        health |= {"healthy": False, "message": f"No primary answers. {health['message']}"}
    rows = explanation_report(router.explain(), now)["nodes"]
    return health | {
        "nodes": [
            row | {"status": _status(router, row["name"])} | connections.get(row["name"], NO_CONNECTIONS)
            for row in rows
        ]
    }


def _status(router: AsyncReplicaRouter[Any], name: str) -> str:
    from pgfleet.core.health import Status, replica_status

    topology = router.topology
    return str(
        Status.HEALTHY if name == topology.primary_name else replica_status(topology, topology.node(name))
    )


def _have_replica(fleet: Json) -> bool:
    """Whether a plain read finds another node than the primary."""
    return any(node["candidate"] and node["name"] != fleet["primary"] for node in fleet["nodes"])


def _print_table(fleet: Json) -> None:
    from rich.console import Console

    from pgfleet.cli.output import (
        NOTHING,
        coloured,
        figures,
        number,
        print_details,
        prose,
        table,
        takes_reads,
        words,
    )

    shown = table(
        words("node"),
        words("role"),
        words("status"),
        figures("lag s"),
        figures("stale s"),
        figures("connections"),
        prose("takes reads"),
    )
    last = fleet["primary"] if _have_replica(fleet) else None
    for node in fleet["nodes"]:
        shown.add_row(
            node["name"],
            node["role"] or NOTHING,
            coloured(node["status"]),
            number(node["lagSeconds"], 3),
            number(node["stalenessBoundSeconds"], 1),
            f"{node['connections']} / {node['maxConnections']}" if node["connections"] else NOTHING,
            takes_reads(node, is_last=node["name"] == last),
        )
    console = Console(highlight=False)
    console.print(shown)
    print_details(console, fleet["nodes"])
    console.print(f"\n{fleet['message']}")
