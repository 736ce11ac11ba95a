"""The watch on one node: it has a connection for it alone.

A probe never shares the pool of the requests, whose connections run out exactly when one wants to know why.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

from pgfleet.aside import Aside
from pgfleet.board import Node
from pgfleet.core.node import Observation, Role
from pgfleet.core.probe import AURORA_LAG_SQL, OBSERVE_SQL, read_observation
from pgfleet.ports import Connector, Runtime, Signal

C = TypeVar("C")

PROBE_TIMEOUT_S = 0.25
"""A server that lives answers the probe in a millisecond or two. Two misses in a row and the node is out."""
CONNECT_TIMEOUT_S = 1.0


async def observe(connector: Connector[C], conn: C, runtime: Runtime) -> Observation:
    """Ask a server what it is and where it stands."""
    asked_s = runtime.clock()
    row = await connector.one_row(conn, OBSERVE_SQL)
    seen = read_observation(row, asked_s, runtime.clock())
    if seen.is_aurora and seen.role is Role.REPLICA:
        (lag_s,) = await connector.one_row(conn, AURORA_LAG_SQL)
        return replace(seen, aurora_lag_s=lag_s)
    return seen


class Watch(Generic[C]):
    """The watch on one node: its connection, and who waits for its next answer."""

    def __init__(self, node: Node[C], runtime: Runtime) -> None:
        self.node = node
        self._runtime = runtime
        self.ended = False
        """Take no further look: the node was removed."""
        self._conn: C | None = None
        self._lock = runtime.lock()
        self._askers: list[Signal] = []
        self._alarm: Signal = runtime.signal()

    def ask(self) -> Signal:
        """Wake the watch. The signal is set when a probe that was sent after this call has ended."""
        answered = self._runtime.signal()
        with self._lock:
            self._askers.append(answered)
            self._alarm.set()
        return answered

    def askers(self) -> list[Signal]:
        """Those whom the next probe answers. A probe under way serves nobody who came after it was sent."""
        with self._lock:
            askers, self._askers = self._askers, []
            self._alarm = self._runtime.signal()
            return askers

    async def rest(self, delay_s: float) -> None:
        """Wait for the next turn, or until somebody asks."""
        await self._alarm.wait(delay_s)

    async def look(self, connect_s: float) -> Observation:
        """One probe. Raises what the driver raises; a server that stays silent is cut off and counts as lost."""
        conn = self._living() or await self._connect(connect_s)
        self._conn = conn
        timer = self._runtime.call_later(PROBE_TIMEOUT_S, lambda: self.node.prober.sever(conn))
        try:
            return await observe(self.node.prober, conn, self._runtime)
        except BaseException:
            self._conn = None
            self.node.prober.drop(conn)
            raise
        finally:
            timer.cancel()

    async def _connect(self, timeout_s: float) -> C:
        """A connection in this time, whatever the driver's own patience is: psycopg's among threads is two seconds."""
        prober = self.node.prober
        return await Aside(
            self._runtime, partial(prober.open, CONNECT_TIMEOUT_S), prober.drop, "connect"
        ).result(timeout_s)

    def _living(self) -> C | None:
        conn, self._conn = self._conn, None
        if conn is not None and not self.node.prober.is_idle(conn):
            self.node.prober.drop(conn)
            return None
        return conn

    async def close(self) -> None:
        """End the connection."""
        conn, self._conn = self._conn, None
        if conn is not None:
            await self.node.prober.close(conn)
