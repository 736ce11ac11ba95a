"""Follows whoever tells which replicas there are, beside a running router: the fleet file, and discovery.

Whatever goes wrong there, the router keeps the fleet that it has, and says so once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from pgfleet.errors import ConfigurationError
from pgfleet.faults import first_line
from pgfleet.members.sources import Source, is_in_file
from pgfleet.ports import Runtime, Signal
from pgfleet.settings import NodeSettings, Settings
from pgfleet.settings.variables import DISCOVERY, FLEET_FILE

logger = logging.getLogger("pgfleet.follow")

RETRY_S = 5.0
"""After a failure: an answer that comes late should not have to wait for the next whole interval."""
STOP_CHECK_S = 0.5


class Fleet(Protocol):
    """Who has the nodes."""

    def become(self, replicas: Sequence[NodeSettings]) -> None:
        """Have these replicas from now on."""


class Follower:
    """Asks each source at its interval, and tells the router of what they say together."""

    def __init__(self, settings: Settings, fleet: Fleet, sources: Sequence[Source], runtime: Runtime) -> None:
        self._settings = settings
        self._fleet = fleet
        self._sources = sources
        self._runtime = runtime
        self._lock = runtime.lock()
        self._told: dict[str, Sequence[NodeSettings]] = {
            "": [node for node in settings.replicas if not is_in_file(node)],
            FLEET_FILE: [node for node in settings.replicas if is_in_file(node)],
        }
        self._stopping = False

    async def start(self, timeout_s: float) -> None:
        """Begin to follow; return when every source has been asked once, or after `timeout_s`."""
        deadline_s = self._runtime.clock() + timeout_s
        told = []
        for source in self._sources:
            told.append(self._runtime.signal())
            self._runtime.spawn(self._follow(source, told[-1]), f"follow {source.name}")
        for signal in told:
            await signal.wait(max(0.0, deadline_s - self._runtime.clock()))

    def stop(self) -> None:
        """Ask nobody any more."""
        self._stopping = True

    async def _follow(self, source: Source, told: Signal) -> None:
        complaint = ""
        while not self._stopping:
            try:
                self._take(source.name, await source.look())
            except Exception as error:
                complaint = _warn(source.name, error, complaint)
            else:
                complaint = ""
            interval_s = min(source.interval_s, RETRY_S) if complaint else source.interval_s
            told.set()
            await self._rest(interval_s)

    async def _rest(self, interval_s: float) -> None:
        until_s = self._runtime.clock() + interval_s
        while not self._stopping and (left_s := until_s - self._runtime.clock()) > 0:
            await self._runtime.signal().wait(min(left_s, STOP_CHECK_S))

    def _take(self, name: str, nodes: Sequence[NodeSettings] | None) -> None:
        if nodes is None:
            return
        adapt = self._settings.adapt
        with self._lock:
            self._told[name] = nodes if adapt is None else tuple(map(adapt, nodes))
            self._fleet.become(self._together())

    def _together(self) -> tuple[NodeSettings, ...]:
        """All of them. A server that is configured and found is the one that is configured."""
        configured = (*self._told[""], *self._told[FLEET_FILE])
        names = {self._settings.primary.name, *(node.name for node in configured)}
        hosts = {node.dsn.hosts for node in configured}
        found = self._told.get(DISCOVERY, ())
        return (*configured, *(n for n in found if n.name not in names and n.dsn.hosts not in hosts))


def _warn(name: str, error: Exception, told: str) -> str:
    """Say what is wrong, unless that was told last; returns what was told."""
    problems = error.problems if isinstance(error, ConfigurationError) else (f"{name}: {first_line(error)}",)
    complaint = "; ".join(problems)
    if complaint != told:
        logger.warning("The fleet stays as it is: %s", complaint)
    return complaint
