"""Which nodes are looked at: those of the environment, of the fleet file, and of discovery as it answers now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from pgfleet.discovery import load
from pgfleet.errors import PgfleetError
from pgfleet.faults import first_line
from pgfleet.members.sources import Discovered
from pgfleet.runtimes.tasks import TaskRuntime
from pgfleet.settings import NodeSettings, Settings

DISCOVERY_TIMEOUT_S = 2.0


async def with_discovered(settings: Settings) -> tuple[Settings, str]:
    """The settings with the replicas that discovery tells of; or as they are, and why it tells nothing."""
    if not settings.discovery:
        return settings, ""
    runtime = TaskRuntime()
    try:
        source = Discovered(load(settings.discovery, runtime), settings.primary)
        async with asyncio.timeout(DISCOVERY_TIMEOUT_S):
            found = await source.look()
    except PgfleetError as error:
        return settings, error.message
    except Exception as error:  # a discovery may be anybody's
        return settings, first_line(error)
    finally:
        await runtime.close(0.0)
    return _joined(settings, found), ""


def _joined(settings: Settings, found: Sequence[NodeSettings]) -> Settings:
    """With those that are new. A server that is configured and found is the one that is configured."""
    names = {settings.primary.name, *(node.name for node in settings.replicas)}
    hosts = {node.dsn.hosts for node in settings.replicas}
    new = (node for node in found if node.name not in names and node.dsn.hosts not in hosts)
    return replace(settings, replicas=(*settings.replicas, *new))
