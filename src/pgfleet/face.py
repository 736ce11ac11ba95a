"""What both faces of the router share: the calls that need no waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar, Unpack

from pgfleet.assembly import Connect, assemble
from pgfleet.core.explain import Explanation, explain
from pgfleet.core.health import is_healthy
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.report import PoolStats
from pgfleet.core.topology import Topology
from pgfleet.engine import Engine
from pgfleet.engine.wishes import ReadOptions
from pgfleet.errors import ConfigurationError, DriverMissing, RouterClosed
from pgfleet.ports import Runtime
from pgfleet.sessions import Scope, any_present, present
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

    def session(self, after: str | None = None) -> Scope:
        """`with router.session() as s`: within it reads see what was written in it, and never less than before.

        The context carries it into tasks and into `asyncio.to_thread`. One within another is a part of
        it. `after`: a token of `token()`, whose writes are seen from the beginning. `s.wrote` tells whether a write
        has begun in it. Raises ConfigurationError, TokenError, WritesLost, RouterClosed.
        """
        return Scope(self.engine.wishes.session(present(self), after), self)

    def explain(self, **options: Unpack[ReadOptions]) -> Explanation:
        """Which nodes such a read could take now, why not the others, and what it must see."""
        engine = self.engine
        intent = engine.questions.intent(present(self), **options)
        board, now_s = engine.board, engine.board.now_s()
        return explain(board.topology, board.plan(intent), now_s, intent)

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

    def _intent(self, engine: Engine[C], options: ReadOptions) -> ReadIntent:
        """What these options ask for, in the present session."""
        session = present(self) if any_present() else None
        if session is None:
            if not options:
                return PLAIN
            if len(options) == 1 and (org_id := options.get("org_id")) is not None:
                return engine.wishes.org(org_id)
        return engine.wishes.intent(session, **options)


def _load(connectors: Callable[[], Connect[Any]], driver: str) -> Connect[Any]:
    try:
        return connectors()
    except ImportError as error:
        raise DriverMissing(
            f"the driver {driver} cannot be imported: {error}", f"pip install 'pgfleet[{driver}]'"
        ) from error
