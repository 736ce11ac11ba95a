"""What both faces of the router share: the calls that need no waiting."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

from pgfleet.assembly import Connect, assemble
from pgfleet.core.explain import Explanation, explain
from pgfleet.core.health import is_healthy
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.report import PoolStats
from pgfleet.core.topology import Topology
from pgfleet.engine import Engine
from pgfleet.errors import ConfigurationError, DriverMissing, RouterClosed
from pgfleet.ports import Runtime
from pgfleet.settings import Settings

C = TypeVar("C")


class Face(Generic[C]):
    """A router's settings, and what can be asked of it at once."""

    _connectors: ClassVar[Mapping[str, Callable[[], Connect[Any]]]]
    """By driver: imports it, and returns what makes its connectors."""

    def __init__(self, settings: Settings, driver: str = "psycopg") -> None:
        if driver not in self._connectors:
            raise ValueError(f"unknown driver {driver!r}: write {' or '.join(map(repr, self._connectors))}")
        self.settings = settings
        self._connect = _load(self._connectors[driver], driver)
        self._hedges = settings.hedge
        self._engine: Engine[C] | None = None

    @classmethod
    def _from_env(cls, environ: Mapping[str, str] | None, driver: str) -> Self:
        return cls(Settings.from_env(environ), driver)

    def _assemble(self, runtime: Runtime) -> Engine[C]:
        return assemble(self.settings, self._connect, runtime)

    @property
    def engine(self) -> Engine[C]:
        """What lends the connections. Raises RouterClosed before `open()` and after `close()`."""
        if self._engine is None:
            raise RouterClosed
        return self._engine

    @property
    def topology(self) -> Topology:
        """What is believed of all nodes at this moment: an immutable value."""
        return self.engine.board.topology

    def has_replicas(self) -> bool:
        """Whether read replicas are enabled and configured. Whether they are well is another question."""
        replicas = self._engine.board.topology.replicas if self._engine else self.settings.replicas
        return self.settings.use_replicas and bool(replicas)

    def is_healthy(self, name: str) -> bool:
        """Whether this node was well when it was last probed. False for a name that is not configured."""
        topology = self.topology
        return any(node.name == name and is_healthy(topology, node) for node in topology.nodes)

    def undrain(self, name: str) -> None:
        """Take back what `drain` did. A node that the fleet file or the discovery drains stays drained.

        Raises UnknownNode.
        """
        self.engine.members.undrain(name)

    def explain(
        self, *, org_id: Hashable = None, prefer_replica: bool = True, max_lag_s: float | None = None
    ) -> Explanation:
        """Which nodes such a read could take now, and why not the others."""
        board = self.engine.board
        plan = board.plan(self._intent(org_id, prefer_replica, max_lag_s))
        return explain(board.topology, plan, board.now_s())

    def accept_cluster(self, system_id: int) -> None:
        """Use the cluster of this system identifier from now on, as after a move to servers made anew.

        What was believed of the old cluster is forgotten, and every connection to it ends: writes in progress on it
        are cut. Accepting the present cluster again does nothing. Raises ConfigurationError when no node is known to
        be of that cluster.
        """
        board = self.engine.board
        if system_id == board.topology.system_id:
            return
        said = {n.name: n.observation.system_id for n in board.topology.nodes if n.observation}
        if system_id not in said.values():
            told = ", ".join(f"{name} {known}" for name, known in said.items()) or "no node has answered"
            raise ConfigurationError(
                (f"no node is of the cluster {system_id}: {told}",),
                "Give the system_identifier of pg_control_system() on the new primary.",
            )
        board.accept_cluster(system_id)

    def pool_stats(self) -> dict[str, tuple[PoolStats, PoolStats]]:
        """For each node the figures of its pool for reads and of its pool for writes."""
        return {
            name: (node.reads.stats(), node.writes.stats()) for name, node in self.engine.board.nodes.items()
        }

    def _intent(self, org_id: Hashable, prefer_replica: bool, max_lag_s: float | None) -> ReadIntent:
        if max_lag_s is not None and not max_lag_s > 0:
            raise ValueError(
                f"max_lag_s must be above 0, not {max_lag_s!r}; prefer_replica=False reads the primary"
            )
        wrote_s = self.engine.board.marks.last_write_s(org_id) if org_id is not None else 0.0
        if prefer_replica and max_lag_s is None and not wrote_s:
            return PLAIN
        return ReadIntent(prefer_replica, max_lag_s, wrote_s or None)


def _load(connectors: Callable[[], Connect[Any]], driver: str) -> Connect[Any]:
    try:
        return connectors()
    except ImportError as error:
        raise DriverMissing(
            f"the driver {driver} cannot be imported: {error}", f"pip install 'pgfleet[{driver}]'"
        ) from error
