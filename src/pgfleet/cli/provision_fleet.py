"""The fleet that a file wants: its provider, with the fleet file around it, and the environment that uses it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgfleet.cli.environment import router_of, without_idle_connections
from pgfleet.errors import ConfigurationError, ProvisionError
from pgfleet.provision.declaration import Declaration
from pgfleet.provision.dsns import application_dsn
from pgfleet.provision.env import environment
from pgfleet.provision.file import read_declaration
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Provider, Tell
from pgfleet.provision.redact import redacted
from pgfleet.provision.registration import Registered, fleet_file
from pgfleet.provision.registry import open_provider
from pgfleet.settings import Dsn, NodeSettings, Settings
from pgfleet.settings.variables import FLEET_FILE

if TYPE_CHECKING:
    from pgfleet.aio import AsyncReplicaRouter

ASKING = "pgfleet provision"
"""The application_name of our own connections."""
READERS_SQL = (
    "select count(*)::int from pg_stat_activity where backend_type = 'client backend'"
    " and application_name <> 'pgfleet provision' and usename = current_user"
)
FOLLOWED_S = 2.0
"""By then every process that follows the fleet file has read it again."""
LEAVE_TIMEOUT_S = 60.0
PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Wanted:
    """A declaration, and what it takes to carry it out."""

    declaration: Declaration
    provider: Provider
    """With the registrations, if there is a fleet file."""
    platform: Provider
    fleet_file: str
    environ: Mapping[str, str]

    def dsn(self) -> Dsn:
        """The application's, on the primary."""
        return application_dsn(self.declaration, self.environ, self.platform)


def wanted_by(file: Path, environ: Mapping[str, str]) -> Wanted:
    """Read the file. Raises ConfigurationError with everything that is wrong, DriverMissing."""
    declaration = read_declaration(file)
    platform = open_provider(declaration, environ)
    path = fleet_file(declaration, environ)
    if path == os.path.realpath(file):
        raise ConfigurationError(
            (f"{FLEET_FILE}: is {file} itself, which says what is wanted",),
            "The fleet file, which processes follow and which holds passwords, is another file.",
        )
    provider = platform
    if path:

        def dsn() -> Dsn:
            return application_dsn(declaration, environ, platform)

        async def left(name: str, node: Dsn, tell: Tell) -> None:
            await until_readers_left(dsn(), name, node, tell)

        provider = Registered(platform, declaration, environ, dsn, left)
    return Wanted(declaration, provider, platform, path, environ)


async def environment_of(wanted: Wanted, *, follow: bool = False) -> dict[str, str]:
    """The variables of an application, passwords included. Raises ProvisionError when the fleet is not there."""
    if follow and not wanted.fleet_file:
        raise ProvisionError("there is no fleet file", 'Write register = "replicas.toml" into [fleet].')
    dsn, path = wanted.dsn(), wanted.fleet_file if follow else ""
    endpoints = await wanted.provider.endpoints()
    if not endpoints[1:]:
        raise ProvisionError("no replica is ready", "`pgfleet provision apply` makes them")
    return environment(dsn, wanted.declaration.replicas, endpoints, path)


async def hidden_environment(wanted: Wanted) -> dict[str, str]:
    """The same for everybody's eyes; empty when nobody has said how an application connects."""
    try:
        wanted.dsn()
    except ConfigurationError:
        return {}
    return {name: redacted(value) for name, value in (await environment_of(wanted)).items()}


def settings_of(primary: Dsn, replicas: Mapping[str, Dsn]) -> Settings:
    """A fleet that is looked at, by connections that tell who looks."""
    nodes = [
        NodeSettings(name, dsn.changed(application_name=ASKING))
        for name, dsn in {"primary": primary, **replicas}.items()
    ]
    return without_idle_connections(Settings(nodes[0], tuple(nodes[1:]), use_replicas=True))


async def until_readers_left(primary: Dsn, name: str, replica: Dsn, tell: Tell) -> None:
    """Return when no application is connected to a replica any more, or has had its time to leave.

    Raises ProvisionError when it cannot be asked.
    """
    edited_s = monotonic()
    async with router_of(settings_of(primary, {name: replica})) as router:
        async for _ in Pace(PAUSE_S, LEAVE_TIMEOUT_S).looks():
            readers = await _readers(router, name)
            if readers == 0 and monotonic() > edited_s + FOLLOWED_S:
                return
    tell(f"{readers} of its connections are still open: they are cut")


async def _readers(router: AsyncReplicaRouter[Any], name: str) -> int:
    try:
        rows = await router.engine.fetch_from(name, READERS_SQL)
    except Exception as error:
        raise ProvisionError(f"{name} does not answer: {type(error).__name__}") from None
    return int(rows[0][0])
