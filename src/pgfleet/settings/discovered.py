"""Servers that were discovered -> replicas, with the credentials of the primary."""

from __future__ import annotations

from collections.abc import Sequence

from pgfleet.core.membership import Found
from pgfleet.settings.dsn import Dsn
from pgfleet.settings.node import NodeSettings, fleet_problems
from pgfleet.settings.variables import DISCOVERY

OF_ITS_PLACE = ("hostaddr", "target_session_attrs", "load_balance_hosts")
"""Parameters that say which of the primary's hosts to take: they mean nothing elsewhere."""


def discovered(found: Sequence[Found], primary: NodeSettings) -> tuple[NodeSettings, ...]:
    """The replicas among the servers that were found. Raises ValueError that names every problem."""
    replicas = tuple(_node(one, primary) for one in found if not is_at(primary.dsn, one))
    problems = tuple(fleet_problems(None, replicas))
    if problems:
        raise ValueError("; ".join(problems))
    return replicas


def is_at(dsn: Dsn, found: Found) -> bool:
    """Whether a connection string leads to this address and no other."""
    return tuple((host.lower(), port) for host, port in dsn.hosts) == ((found.host.lower(), found.port),)


def _node(found: Found, primary: NodeSettings) -> NodeSettings:
    return NodeSettings(
        name=found.name,
        dsn=primary.dsn.changed(OF_ITS_PLACE, host=found.host, port=str(found.port)),
        weight=found.weight,
        zone=found.zone,
        variable=f"{DISCOVERY} {found.name}",
        password=primary.password,
        draining=not found.takes_reads,
    )
