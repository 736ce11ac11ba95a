"""Stopping a replica and starting it again: one of a local fleet, or by commands that somebody gave us for it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from pgfleet.errors import LocalFleetError, PgfleetError
from pgfleet.local import LocalFleet
from pgfleet.settings import NodeSettings

OURS = frozenset(("127.0.0.1", "localhost", "::1"))


class Breaker(Protocol):
    """Somebody who may stop a replica. Raises PgfleetError when it cannot."""

    async def stop(self) -> None:
        """Stop it."""

    async def start(self) -> None:
        """Start it again. Harmless when it runs."""


class LocalBreaker:
    """Kills nodes of a local fleet."""

    def __init__(self, fleet: LocalFleet, nodes: tuple[str, ...]) -> None:
        self._fleet = fleet
        self._nodes = nodes

    async def stop(self) -> None:
        """SIGKILL, all of them at once."""
        await asyncio.gather(*(asyncio.to_thread(self._fleet.kill, node) for node in self._nodes))

    async def start(self) -> None:
        """One after the other: the fleet allows no more. One that does not start keeps none of the others down."""
        failed: list[LocalFleetError] = []
        for node in self._nodes:
            try:
                await asyncio.to_thread(self._fleet.start, node)
            except LocalFleetError as error:
                failed.append(error)
        if failed:
            raise failed[0]


class CommandBreaker:
    """Runs shell commands of the person who consented to it."""

    def __init__(self, stop: str, start: str, within_s: float) -> None:
        self._stop = stop
        self._start = start
        self._within_s = within_s

    async def stop(self) -> None:
        """Run the first command."""
        await self._run(self._stop, "--allow-kill")

    async def start(self) -> None:
        """Run the second."""
        await self._run(self._start, "--undo")

    async def _run(self, command: str, option: str) -> None:
        """Raises PgfleetError when it fails, or does not end in time."""
        process = await asyncio.create_subprocess_shell(
            command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal is for us alone: what starts a replica goes on
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), self._within_s)
        except TimeoutError:
            raise PgfleetError(f"the command of {option} did not end within {self._within_s:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            lines = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise PgfleetError(f"the command of {option} ended with {process.returncode}: {lines[-1]}")


def local_replicas(
    nodes: Iterable[NodeSettings], directory: Path | None
) -> tuple[LocalFleet, dict[str, str]] | None:
    """The local fleet that all these nodes are of, and by their names those of its replicas; None: they are of none."""
    try:
        fleet = LocalFleet.attach(directory)
        by_port = {fleet.node(name).port: name for name in fleet.names}
        primary = fleet.primary
    except LocalFleetError:
        return None
    places = {node.name: _port(node) for node in nodes}
    if not places or not all(port in by_port for port in places.values()):
        return None
    names = {name: by_port[port] for name, port in places.items() if port is not None}
    return fleet, {name: local for name, local in names.items() if local != primary}


def _port(node: NodeSettings) -> int | None:
    (host, port), *others = node.dsn.hosts
    return None if others or host not in OURS else port
