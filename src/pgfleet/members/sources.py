"""Who tells which replicas there are, beside the environment: the fleet file, and discovery."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

from pgfleet.errors import ConfigurationError
from pgfleet.ports import Discovery, Runtime
from pgfleet.settings import NodeSettings
from pgfleet.settings.discovered import discovered
from pgfleet.settings.fleet_file import read_fleet_file
from pgfleet.settings.node import fleet_problems
from pgfleet.settings.variables import DISCOVERY, FLEET_FILE

FILE_INTERVAL_S = 1.0
SHORTEST_INTERVAL_S = 0.5
LONGEST_INTERVAL_S = 3600.0


class Source(Protocol):
    """Where replicas come from."""

    name: str

    @property
    def interval_s(self) -> float:
        """When to look again."""

    async def look(self) -> Sequence[NodeSettings] | None:
        """The replicas that it tells of; None: as before. Raises what keeps it from telling."""


class FleetFile:
    """The file that `pgfleet replica` edits. Reads it when it has changed; `others` are the nodes beside it."""

    name = FLEET_FILE
    interval_s = FILE_INTERVAL_S

    def __init__(
        self, path: str, primary: NodeSettings, others: Sequence[NodeSettings], runtime: Runtime
    ) -> None:
        self._path = path
        self._primary = primary
        self._others = others
        self._runtime = runtime
        self._stamp: Any = ()

    async def look(self) -> Sequence[NodeSettings] | None:
        """The replicas of the file. Raises ConfigurationError, once for each state that the file is in."""
        return await self._runtime.aside(self._look)

    def _look(self) -> Sequence[NodeSettings] | None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        replicas, problems = read_fleet_file(self._path)
        problems = problems or tuple(fleet_problems(self._primary, (*self._others, *replicas)))
        if problems:
            raise ConfigurationError(problems)
        return replicas


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


class Discovered:
    """What a discovery finds."""

    name = DISCOVERY

    def __init__(self, discovery: Discovery, primary: NodeSettings) -> None:
        self._discovery = discovery
        self._primary = primary

    @property
    def interval_s(self) -> float:
        """As the discovery says."""
        return min(max(self._discovery.interval_s, SHORTEST_INTERVAL_S), LONGEST_INTERVAL_S)

    async def look(self) -> Sequence[NodeSettings]:
        """The replicas that were found. To find no server at all is a failure, not an empty fleet."""
        found = await self._discovery.find()
        if not found:
            raise ValueError("the answer names no server")
        return discovered(found, self._primary)


def is_in_file(node: NodeSettings) -> bool:
    """Whether the fleet file has brought this node."""
    return node.variable.startswith(FLEET_FILE)
