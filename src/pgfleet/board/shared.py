"""An address behind which several servers stand: what is known of each of them, by the life that it is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from pgfleet.core.ground import server_of
from pgfleet.core.node import Observation
from pgfleet.core.topology import NodeState, Topology
from pgfleet.pool import Pool, Pooled

C = TypeVar("C")

MOST_SERVERS = 64
"""Lives of servers behind one address that are known at a time: each restart begins another."""


class Behind:
    """The servers behind one address. Within a life a server only moves on: what any connection saw, holds for all."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._servers: dict[tuple[int, str], NodeState] = {}
        self.not_before_s = 0.0
        """A new connection led to no server that would do: until then no read opens another in search of one."""

    def learn(self, topology: Topology, seen: Observation) -> NodeState:
        """Take in what a connection saw of its server, unless more is known; what is known now."""
        key, servers = server_of(seen), self._servers
        known = servers.get(key)
        if known and known.observation and known.observation.asked_s > seen.asked_s:
            return known
        servers[key] = learned = topology.behind(self._name, known, seen)
        for oldest in list(servers)[:-MOST_SERVERS]:
            servers.pop(oldest, None)
        return learned

    def server(self, topology: Topology, seen: Observation) -> NodeState:
        """What is known of the server of a connection that saw this."""
        return self._servers.get(server_of(seen)) or self.learn(topology, seen)


class SharedGate(Generic[C]):
    """The pool of such an address as the short way meets it: `proves` says whose server is known to be fresh enough."""

    def __init__(self, pool: Pool[C], proves: Callable[[Pooled[C]], bool]) -> None:
        self.pool = pool
        self._proves = proves

    @property
    def in_flight(self) -> int:
        """As of the pool."""
        return self.pool.in_flight

    def take(self) -> Pooled[C] | None:
        """A living idle connection of a server that need not be asked; None: the next one is of another."""
        pooled = self.pool.take()
        if pooled is None or self._proves(pooled):
            return pooled
        self.pool.give(pooled)
        return None

    def has_room(self) -> bool:
        """As of the pool: whoever goes the long way there has one asked, or opened."""
        return self.pool.has_room()

    def has_idle(self) -> bool:
        """As of the pool: connections of servers that are not known to be fresh enough."""
        return self.pool.has_idle()
