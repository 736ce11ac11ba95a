"""Whether there are enough connections: those that are open, and those that full pools would open."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet, Node
from pgfleet.core.diagnosis.steps import APPLICATION, WHO_CONNECTS
from pgfleet.core.words import identifier, percent


def nearly_full(fleet: Fleet) -> Iterator[Finding]:
    """Servers, databases and roles that have little left."""
    for node in fleet.nodes:
        share, told, fix = max(_uses(node), default=(0.0, "", ""))
        if share < fleet.thresholds.connections_warning_share:
            continue
        critical = share >= fleet.thresholds.connections_critical_share
        yield Finding(
            "connections-nearly-full",
            Severity.CRITICAL if critical else Severity.WARNING,
            node.name,
            f"{told}: {percent(share)}",
            (
                Step(
                    WHO_CONNECTS,
                    node.name,
                    "who holds them?",
                ),
                Step(fix, node.name, "if all of them are needed"),
            ),
            figures={"usedShare": round(share, 3)},
        )


def pools(fleet: Fleet) -> Iterator[Finding]:
    """Servers that cannot give all that full pools of all processes may ask for."""
    for node in fleet.nodes:
        limit = _limit(node)
        wanted = fleet.snapshot.processes * node.seen.pool_connections
        if limit is None or wanted <= limit[0]:
            continue
        each = max(1, limit[0] // fleet.snapshot.processes - 1)
        yield Finding(
            "pools-exceed-server",
            Severity.WARNING,
            node.name,
            f"{fleet.snapshot.processes} x {node.seen.pool_connections} connections (a pool, and one for probes)"
            f" may be wanted, {limit[0]} are there: {limit[1]}",
            (
                *_smaller_pools(node, each),
                Step(
                    f"alter system set max_connections = {wanted + _reserved(node)}; -- then restart",
                    node.name,
                    "or more connections, if its memory allows; on a primary after its standbys",
                ),
            ),
            figures={"wanted": wanted, "available": limit[0], "processes": fleet.snapshot.processes},
        )


def _uses(node: Node) -> Iterator[tuple[float, str, str]]:
    """The used share of each limit, in words, and what raises it."""
    use, server = node.facts.use, node.facts.server
    most = node.facts.number("max_connections")
    if use is None:
        return
    if most:
        ordinary = max(1, most - _reserved(node))
        raised = f"alter system set max_connections = {most * 2}; -- then restart"
        yield (
            use.connections / ordinary,
            f"{use.connections} of {ordinary} connections for ordinary roles",
            raised,
        )
    if server.database_limit:
        told = (
            f"{use.database_connections} of {server.database_limit} connections of database {server.database}"
        )
        raised = f"alter database {identifier(server.database)} connection limit {server.database_limit * 2};"
        yield use.database_connections / server.database_limit, told, raised
    if server.role_limit:
        told = f"{use.role_connections} of {server.role_limit} connections of role {server.role}"
        raised = f"alter role {identifier(server.role)} connection limit {server.role_limit * 2};"
        yield use.role_connections / server.role_limit, told, raised


def _limit(node: Node) -> tuple[int, str] | None:
    """The least of what the server, the database and the role may have, and in whose name."""
    server, most = node.facts.server, node.facts.number("max_connections")
    limits = []
    if most:
        limits.append(
            (most - _reserved(node), f"max_connections={most} less {_reserved(node)} that are reserved")
        )
    if server.database_limit:
        limits.append((server.database_limit, f"the limit of database {server.database}"))
    if server.role_limit:
        limits.append((server.role_limit, f"the limit of role {server.role}"))
    return min(limits, default=None)


def _reserved(node: Node) -> int:
    """For superusers, and since PostgreSQL 16 for a role that may use them."""
    names = ("superuser_reserved_connections", "reserved_connections")
    return sum(node.facts.number(name) or 0 for name in names)


def _smaller_pools(node: Node, most: int) -> Iterator[Step]:
    """There where its pool is set; what discovery brings has no setting of its own."""
    if node.seen.is_in_environment:
        own = node.seen.variable.removesuffix("CONNECTION_STRING")
        variable = "DB_MAX_CONNECTIONS" if own == node.seen.variable else f"{own}MAX_CONNECTIONS"
        yield Step(f"export {variable}={most}", APPLICATION, "smaller pools")
    elif node.seen.is_in_fleet_file:
        edit = f"smaller pools: write max_connections = {most} below its name"
        yield Step('"${EDITOR:-vi}" "$PGFLEET_FLEET_FILE"', APPLICATION, edit)
