"""All nodes at once: each is looked at in its own time, so that one that is silent delays nobody's answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pgfleet.adapters.session import SessionSettings
from pgfleet.core.diagnosis.obstacle import Blocked, Obstacle, obstacle_of
from pgfleet.core.diagnosis.snapshot import NodeSeen, Snapshot
from pgfleet.doctor.driver import connector
from pgfleet.doctor.knock import knock
from pgfleet.doctor.look import Look
from pgfleet.doctor.resolve import resolve
from pgfleet.faults import first_line, network_fault
from pgfleet.ports import Connector
from pgfleet.settings import NodeSettings, Settings

PROBE_CONNECTIONS = 1
"""What a process opens to each node beside its pools."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a node may take."""

    timeout_s: float = 2.0
    """For all of it. Half of it goes to connecting; a node that takes no connection is asked why in the other half."""
    interval_s: float = 0.4
    """Between the two samples that make a rate; a part of the time, where that is short."""

    @property
    def pause_s(self) -> float:
        """What it comes to."""
        return min(self.interval_s, self.timeout_s / 4)


async def examine(
    settings: Settings,
    processes: int = 1,
    patience: Patience = Patience(),
    clock: Callable[[], float] = time.time,
    discovery_trouble: str = "",
) -> Snapshot:
    """Look at every node of these settings. Raises DriverMissing, and nothing for what a node does or fails to do."""
    nodes: Sequence[NodeSettings] = (settings.primary, *settings.replicas)
    examinations = [_Examination(settings, node, patience, clock) for node in nodes]
    seen = await asyncio.gather(*(examination.run() for examination in examinations))
    return Snapshot(tuple(seen), settings.use_replicas, settings.max_lag_s, processes, discovery_trouble)


class _Examination:
    """One node."""

    def __init__(
        self, settings: Settings, node: NodeSettings, patience: Patience, clock: Callable[[], float]
    ) -> None:
        self._node = node
        self._dsn = node.probe_dsn or node.dsn
        self._connector: Connector[Any] = connector(
            SessionSettings(self._dsn, node.password, patience.timeout_s)
        )
        self._patience = patience
        self._clock = clock
        self._blank = NodeSeen(
            name=node.name,
            address=self._dsn.display,
            user=self._dsn.user,
            hosts=self._dsn.hosts,
            configured_primary=node is settings.primary,
            pool_connections=node.max_connections + PROBE_CONNECTIONS,
            variable=node.variable,
            shared_endpoint=node.shared_endpoint,
            draining=node.draining,
        )

    async def run(self) -> NodeSeen:
        """Connect, ask, wait, ask again; or find out why not."""
        began_s = time.monotonic()
        connect_s = self._patience.timeout_s / 2
        try:
            async with asyncio.timeout(connect_s):
                await self._find()
                conn = await self._connector.open(connect_s)
        except Exception as error:  # a driver's, the system's, or that of whoever is asked for the password
            return replace(self._blank, blocked=await self._why(error))
        look = Look(self._connector, conn, self._clock)
        try:
            async with asyncio.timeout(began_s + self._patience.timeout_s - time.monotonic()):
                await self._ask(look)
        except Exception as error:
            if not self._is_of_node(conn, error):
                raise
            return self._cut_short(look, error)
        finally:
            await self._end(conn)
        return replace(self._blank, facts=look.facts(), unseen=look.not_seen())

    async def _find(self) -> None:
        """Names must resolve before the driver asks for them: it would wait for the resolver without end."""
        if "hostaddr" not in self._dsn.parameters:
            for host, port in self._dsn.hosts:
                await resolve(host, port)

    async def _ask(self, look: Look) -> None:
        await look.begin()
        sampled_s = time.monotonic()
        await look.ask_once()
        await asyncio.sleep(max(0.0, sampled_s + self._patience.pause_s - time.monotonic()))
        await look.ask_again()

    def _cut_short(self, look: Look, error: Exception) -> NodeSeen:
        """It fell silent, or hung up, amid the questions. What it said before counts, if it is enough to judge."""
        if not isinstance(error, TimeoutError):
            look.lose(first_line(error))
        facts = look.facts()
        blocked = None if facts else self._blocked_by(error)
        return replace(self._blank, facts=facts, blocked=blocked, unseen=look.not_seen())

    async def _end(self, conn: Any) -> None:
        """Politely if it answers at once: nobody waits for the goodbye of a frozen server."""
        try:
            async with asyncio.timeout(0.1):
                await self._connector.close(conn)
        except Exception:  # whatever keeps it from a goodbye, all that was to be told is told
            self._connector.drop(conn)

    async def _why(self, error: Exception) -> Blocked:
        """The server's own code if the driver has it; otherwise every step is taken once more, by ourselves."""
        fault = self._connector.fault(error)
        if fault and fault.sqlstate:
            return self._refused(fault.sqlstate, error)
        half_s = self._patience.timeout_s / 2
        return await knock(self._dsn, self._node.password, half_s) or self._blocked_by(error)

    def _is_of_node(self, conn: Any, error: Exception) -> bool:
        """Whether an error amid the questions tells of the node. Any other is a defect of ours, and is not hidden."""
        fault = self._connector.fault(error) or network_fault(error)
        return fault is not None or self._connector.lost_with(conn, error)

    def _refused(self, sqlstate: str, error: Exception) -> Blocked:
        """By the server's code. A driver without a password may send an empty one, which is a wrong one."""
        obstacle = obstacle_of(sqlstate)
        if obstacle is Obstacle.PASSWORD_WRONG and not (self._dsn.password or self._node.password):
            obstacle = Obstacle.PASSWORD_MISSING
        return Blocked(obstacle, first_line(error))

    def _blocked_by(self, error: Exception) -> Blocked:
        """By the driver's error alone."""
        fault = self._connector.fault(error) or network_fault(error)
        if fault and fault.sqlstate:
            return self._refused(fault.sqlstate, error)
        silent = isinstance(error, TimeoutError) or (fault is not None and fault.timed_out)
        return Blocked(Obstacle.SILENT if silent else Obstacle.FAILED, first_line(error))
