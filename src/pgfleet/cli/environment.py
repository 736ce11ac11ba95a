"""The fleet of the environment, as a command that looks once and ends sees it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pgfleet.errors import DriverMissing

if TYPE_CHECKING:
    from pgfleet.aio import AsyncReplicaRouter
    from pgfleet.settings import NodeSettings, Settings

DRIVERS = ("psycopg", "asyncpg")


@asynccontextmanager
async def fleet_of_environment() -> AsyncIterator[AsyncReplicaRouter[Any]]:
    """A router that has looked at every node, and keeps no connections ready. Raises ConfigurationError.

    Whoever asks about a token is told when it is none: a read would go on without it.
    """
    from pgfleet.settings import Settings

    show_warnings("pgfleet.settings")
    settings = replace(without_idle_connections(Settings.from_env()), token_errors="raise")  # noqa: S106 (a policy)
    async with router_of(settings) as router:
        yield router


def show_warnings(*others: str) -> None:
    """Say on standard error what keeps the fleet file or discovery from telling: no table shows what nobody told.

    `others`: more loggers whose words are shown.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    for name in ("pgfleet.follow", *others):
        logging.getLogger(name).addHandler(handler)


def router_of(settings: Settings) -> AsyncReplicaRouter[Any]:
    """A router on the driver that is there: psycopg, because it reads connection strings as libpq does, or asyncpg."""
    from pgfleet.aio import AsyncReplicaRouter

    for driver in DRIVERS:
        with suppress(DriverMissing):
            return AsyncReplicaRouter(settings, driver)
    raise DriverMissing("no driver is installed: neither psycopg nor asyncpg", "pip install 'pgfleet[all]'")


def without_idle_connections(settings: Settings) -> Settings:
    """The same fleet, with pools that open nothing before it is asked for."""
    return replace(
        settings,
        primary=_without_idle_connections(settings.primary),
        replicas=tuple(map(_without_idle_connections, settings.replicas)),
        adapt=_without_idle_connections,
    )


def _without_idle_connections(node: NodeSettings) -> NodeSettings:
    return replace(node, min_connections=0)
