"""Read replicas for Python applications on PostgreSQL: provision, route, watch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgfleet.aio import AsyncReplicaRouter
    from pgfleet.core.explain import Explanation
    from pgfleet.core.topology import Topology
    from pgfleet.errors import (
        ConfigurationError,
        DiscoveryError,
        DrainRefused,
        DrainTimeout,
        DriverMissing,
        LeaseTimeout,
        LocalFleetError,
        NoReplica,
        OutcomeUnknown,
        Overloaded,
        PgfleetError,
        PrimaryUnavailable,
        ProvisionError,
        ReadTimeout,
        RouterClosed,
        SplitBrain,
        TokenError,
        UnknownNode,
        WritesLost,
    )
    from pgfleet.router import ReplicaRouter
    from pgfleet.settings import Dsn, NodeSettings, Secret, Settings

__version__ = "0.1.0"

_HOMES = {
    "AsyncReplicaRouter": "aio",
    "ConfigurationError": "errors",
    "DiscoveryError": "errors",
    "DrainRefused": "errors",
    "DrainTimeout": "errors",
    "DriverMissing": "errors",
    "Dsn": "settings",
    "Explanation": "core.explain",
    "LeaseTimeout": "errors",
    "LocalFleetError": "errors",
    "NoReplica": "errors",
    "NodeSettings": "settings",
    "OutcomeUnknown": "errors",
    "Overloaded": "errors",
    "PgfleetError": "errors",
    "PrimaryUnavailable": "errors",
    "ProvisionError": "errors",
    "ReadTimeout": "errors",
    "ReplicaRouter": "router",
    "RouterClosed": "errors",
    "Secret": "settings",
    "Settings": "settings",
    "SplitBrain": "errors",
    "TokenError": "errors",
    "Topology": "core.topology",
    "UnknownNode": "errors",
    "WritesLost": "errors",
}

__all__ = [
    "AsyncReplicaRouter",
    "ConfigurationError",
    "DiscoveryError",
    "DrainRefused",
    "DrainTimeout",
    "DriverMissing",
    "Dsn",
    "Explanation",
    "LeaseTimeout",
    "LocalFleetError",
    "NoReplica",
    "NodeSettings",
    "OutcomeUnknown",
    "Overloaded",
    "PgfleetError",
    "PrimaryUnavailable",
    "ProvisionError",
    "ReadTimeout",
    "ReplicaRouter",
    "RouterClosed",
    "Secret",
    "Settings",
    "SplitBrain",
    "TokenError",
    "Topology",
    "UnknownNode",
    "WritesLost",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: a process pays for the face that it uses."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pgfleet' has no attribute {name!r}")
    value = getattr(import_module(f"pgfleet.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
