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
from pgfleet.settings.strays import strays
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
    max_ejected_share: float = 0.5
    """The part of the replicas that may be out for being slow; one may, of two or more."""
    panic_share: float = 0.5
    """When fewer than this part of the replicas would serve, those that are out for being slow serve as well."""
    fallback_rate: float = 1000.0
    """The reads per second that the primary takes when no replica serves them; as many may come at once."""
    overload: str = "wait"
    """What becomes of reads beyond these: they wait, are shed, or are answered by a replica that is too stale."""
    retry_budget: float = 0.2
    """The part of the reads that may be sent once more after they failed; 0: none."""
    hedge: bool = False
    """Whether a read whose answer is late is sent to a second replica too: among tasks; threads ask each time."""
    policy: str = "round_robin"
    pooler: str = "none"
    """`transaction`: every `dsn` leads to a pooler that lends a server's connection for one transaction."""
    token_secrets: tuple[Secret, ...] = ()
    """What consistency tokens are signed with: the first signs, any of them is accepted; empty: none is issued."""
    token_errors: str = "ignore"  # noqa: S105 (no password)
    """What becomes of a token that is not ours: the read goes on without it, or raises TokenError."""
    catchup_wait_ms: float = 10.0
    """How long a read that must see a recent write waits for a replica to replay it before it goes to the primary."""
    unknown: str = "closed"
    """`closed`: a replica whose staleness is not known serves nobody; `open`: it serves plain reads."""
    unqualified: str = "primary"
    """What becomes of a read that no replica qualifies for: the primary serves it, it waits, or it raises NoReplica."""
    lost_writes: str = "error"
    """What becomes of a read whose writes a failover may have lost: WritesLost, once, or it is served. It is logged."""
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

    @property
    def expects_replicas(self) -> bool:
        """Whether reads of the primary are the exception, even while no replica is there."""
        return self.use_replicas and bool(self.replicas or self.fleet_file or self.discovery)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings of an environment, by default this process's. Raises ConfigurationError with every problem.

        Names that begin as ours do, and that nothing reads, are logged.
        """
        fields, problems = read_environment(os.environ if environ is None else environ)
        _refuse(problems)
        _warn_of(strays(os.environ if environ is None else environ))
        return cls(**fields)


def _warn_of(found: Mapping[str, str | None]) -> None:
    """One line: a name that is misspelt is a setting that somebody believes to be in force."""
    if found:
        import logging  # here: few environments need it

        told = (name + (f" (did you mean {nearest}?)" if nearest else "") for name, nearest in found.items())
        logging.getLogger("pgfleet.settings").warning("Nothing reads these variables: %s", ", ".join(told))


def _refuse(problems: tuple[str, ...]) -> None:
    if problems:
        raise ConfigurationError(problems, _HINT)
