"""All that one process may be told about its fleet, checked when it is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pgfleet.errors import ConfigurationError
from pgfleet.settings.dsn import Dsn
from pgfleet.settings.environment import read_environment
from pgfleet.settings.node import NodeSettings, fleet_problems
from pgfleet.settings.secret import Secret
from pgfleet.settings.variables import DISCOVERY, GENERAL

_HINT = "docs/reference/environment.md lists every variable with its meaning, its default and an example"


@dataclass(frozen=True, slots=True)
class Settings:
    """A primary, its replicas, and how to use them.

    Raises ConfigurationError with everything that is wrong at once, made from the environment or in code.
    """

    primary: NodeSettings
    replicas: tuple[NodeSettings, ...] = ()
    """In the order of their numbers; there even while `use_replicas` is False."""
    use_replicas: bool = False
    fallback_dsn: Dsn | None = None
    """The primary under a role without write privileges, for reads that find no replica."""
    health_check_interval_s: float = 1.0
    max_idle_s: float = 600.0
    max_lifetime_s: float = 3600.0
    connection_timeout_s: float = 30.0
    """How long a caller waits for a connection, the time to open one included."""
    query_timeout_s: float = 60.0
    max_lag_s: float = 10.0
    """How stale a replica may be for a read that says nothing of it."""
    fallback_share: float = 0.25
    """The part of the primary's connections that reads may take when no replica serves them."""
    policy: str = "round_robin"
    pooler: str = "none"
    """`transaction`: every `dsn` leads to a pooler that lends a server's connection for one transaction."""
    api_token: Secret | None = None
    fleet_file: str | None = None
    """More replicas, in a file that a running router follows. Those it holds now are in `replicas` already."""
    discovery: str | None = field(default=None, repr=False)  # a URL in it may hold a password
    """Who tells of more replicas: `dns:host:port`, `srv:name`, `patroni:url,url`, `static:host:port,host:port`."""
    adapt: Callable[[NodeSettings], NodeSettings] | None = field(default=None, repr=False)
    """What is made of each replica that the file or the discovery brings, before it joins."""

    def __post_init__(self) -> None:
        complaints = [(known.field, known.kind.complaint(getattr(self, known.field))) for known in GENERAL]
        problems = [f"{field}: {complaint}" for field, complaint in complaints if complaint]
        if self.discovery and self.pooler != "none":
            problems.append(
                f"{DISCOVERY}: finds servers, not the poolers in front of them; list the nodes instead"
            )
        _refuse((*problems, *fleet_problems(self.primary, self.replicas, self.pooler)))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings of an environment, by default this process's. Raises ConfigurationError with every problem."""
        fields, problems = read_environment(os.environ if environ is None else environ)
        _refuse(problems)
        return cls(**fields)


def _refuse(problems: tuple[str, ...]) -> None:
    if problems:
        raise ConfigurationError(problems, _HINT)
