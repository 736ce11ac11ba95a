"""A real primary and its streaming replicas on this machine, for development and tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pgfleet.errors import LocalFleetError
from pgfleet.local import build
from pgfleet.local.account import Account
from pgfleet.local.building import PRIMARY, build_fleet, is_built
from pgfleet.local.cluster import Cluster
from pgfleet.local.configuration import DATABASE, PLAIN_USER, SUPERUSER, check_settings
from pgfleet.local.layout import Layout, temporary_directory
from pgfleet.local.resizing import Tell, add_replica, owner, remnant, remnants, remove_replica, resume_replica
from pgfleet.local.server import LocalNode, Server, ServerState
from pgfleet.local.session import Rows
from pgfleet.local.state import FleetState, Setting
from pgfleet.local.status import LocalStatus, fleet_status
from pgfleet.settings.replica_names import numbered

MOST_REPLICAS = 16
LONGEST_DELAY_S = 86_400.0


class LocalFleet:
    """A cluster of PostgreSQL servers that run by themselves, and outlive the process that started them.

    Made by `up`, `attach` or `temporary`. Nodes keep their names and ports; which of them is the primary changes with
    `promote`. Every method raises LocalFleetError, with the next step in its `.hint`. Safe to use from several threads
    and processes: one at a time changes the fleet, and `kill`, `freeze` and `thaw` wait for nobody.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def __repr__(self) -> str:
        return f"LocalFleet({str(self.directory)!r})"

    @classmethod
    def up(
        cls,
        directory: str | Path | None = None,
        replicas: int = 3,
        pg_bin: str | Path | None = None,
        settings: Mapping[str, Setting] | None = None,
    ) -> LocalFleet:
        """Have a fleet running in `directory`: a new one, or the one that is there, each stopped node started.

        A fleet that is there keeps its own size, binaries and settings. `settings` are more lines for every node's
        postgresql.conf. Without a directory: below XDG_STATE_HOME or ~/.local/state, for root /var/lib/pgfleet.
        """
        account, wanted = Account.choose(), check_settings(settings or {})
        if not 0 <= replicas <= MOST_REPLICAS:
            raise LocalFleetError(f"{replicas} replicas", f"from 0 to {MOST_REPLICAS}")
        layout = Layout.at(directory, account)
        with layout.locked(account):
            if is_built(layout):
                Cluster(layout, FleetState.load(layout.state)).bring_up()
            else:
                build_fleet(layout, account, replicas, pg_bin, wanted)
        return cls(layout)

    @classmethod
    def attach(cls, directory: str | Path | None = None) -> Self:
        """The fleet that is in `directory`, in whatever state its servers are."""
        layout = Layout.at(directory, Account.choose())
        if not is_built(layout):
            raise LocalFleetError(f"there is no fleet in {layout.directory}", "pgfleet local up starts one")
        return cls(layout)

    @classmethod
    @contextlib.contextmanager
    def temporary(
        cls,
        replicas: int = 3,
        pg_bin: str | Path | None = None,
        settings: Mapping[str, Setting] | None = None,
    ) -> Iterator[LocalFleet]:
        """A fleet in a directory of its own, gone when the block ends, however it ends."""
        directory = temporary_directory(Account.choose())
        try:
            yield cls.up(directory, replicas, pg_bin, settings)
        finally:
            cls.remove(directory)
            with contextlib.suppress(FileNotFoundError):
                directory.rmdir()

    @classmethod
    def remove(cls, directory: str | Path | None = None) -> bool:
        """End every process and remove every file of whatever fleet is in `directory`; False when there was none."""
        layout = Layout.at(directory, Account.choose())
        if not layout.nodes.exists() and not layout.state.exists():
            return False
        with contextlib.suppress(FileNotFoundError), layout.locked():
            for name in sorted(path.name for path in layout.nodes.glob("*")):
                remnant(layout, name).sweep()
            layout.clear()
        return True

    def down(self) -> None:
        """End every process and remove every file of the fleet, frozen and half-dead ones too. Harmless twice."""
        self.remove(self.directory)

    @property
    def directory(self) -> Path:
        """Where the fleet's files are."""
        return self._layout.directory

    @property
    def names(self) -> tuple[str, ...]:
        """`primary`, `replica-1`, ...: the nodes, by the names they keep whatever role they have by now."""
        return self._cluster().names

    @property
    def primary(self) -> str:
        """The name of the present primary, the node last promoted."""
        return self._cluster().primary()

    @property
    def postgresql(self) -> str:
        """The version of the servers, as `18.6`."""
        return self._cluster().state.postgresql

    def node(self, name: str) -> LocalNode:
        """Port, data directory, log, slot and application_name of a node."""
        return self._cluster().node(name)

    def dsn(self, name: str, plain: bool = False) -> str:
        """A connection string, password included: of the superuser, or of the plain role that owns the database."""
        state = self._cluster().state
        user, password = (PLAIN_USER, state.plain_password) if plain else (SUPERUSER, state.password)
        return f"postgresql://{user}:{password}@127.0.0.1:{state.node(name).port}/{DATABASE}"

    def environ(self, plain: bool = False) -> dict[str, str]:
        """The environment that makes an application use this fleet, with the nodes' first roles."""
        replicas: dict[str, str] = {}
        for name, number in numbered(self.names[1:]).items():
            replicas[f"READ_REPLICA_{number}_CONNECTION_STRING"] = self.dsn(name, plain)
            if name != f"replica-{number}":
                replicas[f"READ_REPLICA_{number}_NAME"] = name
        return {"DATABASE_URL": self.dsn(PRIMARY, plain), "USE_READ_REPLICAS": "true", **replicas}

    def status(self) -> list[LocalStatus]:
        """What each node is doing now."""
        return fleet_status(self._cluster())

    def sql(self, name: str, sql: str, timeout_s: float = 10.0) -> Rows:
        """Run statements on a node as the superuser; the rows of the last that gave any, NULL as an empty string."""
        with self._cluster().session(name, timeout_s=timeout_s) as session:
            return session.query(sql)

    def start(self, name: str) -> None:
        """Start a stopped node in the role it had, and wait until it takes connections."""
        with self._locked() as cluster:
            state = cluster.server(name).state()
            if state is ServerState.FROZEN:
                raise LocalFleetError(f"{name} is frozen", f"pgfleet local thaw {name}")
            if state is ServerState.STOPPED:
                cluster.spawn(name)
            cluster.server(name).wait_ready()

    def stop(self, name: str) -> None:
        """Shut a node down cleanly."""
        with self._locked() as cluster:
            cluster.server(name).stop()

    def restart(self, name: str) -> None:
        """Stop a node, if it runs, and start it."""
        self.stop(name)
        self.start(name)

    def kill(self, name: str) -> None:
        """SIGKILL the postmaster and every child. Harmless when it is stopped."""
        self._cluster().server(name).kill()

    def freeze(self, name: str) -> None:
        """SIGSTOP the postmaster and every child: the kernel still accepts connections, and nobody answers them."""
        self._running(self._cluster(), name, ServerState.FROZEN).freeze()

    def thaw(self, name: str) -> None:
        """Let a frozen node go on."""
        self._running(self._cluster(), name, ServerState.FROZEN).thaw()

    def lag(self, name: str, delay_s: float = 5.0, *, paused: bool = False) -> None:
        """Make a replica replay `delay_s` late, or not at all while `paused`. `delay_s=0` takes both back."""
        with self._locked() as cluster:
            server = self._running(cluster, name)
            if not build.is_standby(server.node):
                raise LocalFleetError(f"{name} is a primary: it replays nothing", "name a replica")
            if not 0 <= delay_s <= LONGEST_DELAY_S:
                raise LocalFleetError(f"a delay of {delay_s:g} s", f"from 0 to {LONGEST_DELAY_S:g}")
            if paused:
                cluster.pause_replay(name)
            else:
                cluster.changed(name, apply_delay_s=delay_s).delay_replay(name)

    def promote(self, name: str) -> None:
        """Make a replica a primary, on a new timeline. The others stay as they are, until they `rejoin`."""
        with self._locked() as cluster:
            server = self._running(cluster, name)
            if not build.is_standby(server.node):
                raise LocalFleetError(f"{name} is a primary already", "pgfleet local status")
            with cluster.session(name, timeout_s=70.0) as session:
                if session.query("select pg_promote(true, 60)") != [("t",)]:
                    raise LocalFleetError(f"{name} was not promoted within 60 s", f"see {server.node.log}")
            cluster.changed(name, apply_delay_s=0.0)

    def rejoin(self, name: str) -> None:
        """Make an old primary, or a standby of one, a standby of the present primary; what only it had is lost."""
        with self._locked() as cluster:
            primary = cluster.primary()
            if name == primary:
                raise LocalFleetError(f"{name} is the present primary", "promote another node first")
            self._running(cluster, primary)
            cluster.follow(name, primary)

    def add_replica(self, name: str, tell: Tell = lambda line: None, owner: str = "") -> None:
        """A new standby of the present primary, copied from it while it runs. `tell` takes a line for each stage."""
        with self._locked() as cluster:
            self._running(cluster, cluster.primary())
            if len(cluster.names) > MOST_REPLICAS:
                raise LocalFleetError(f"the fleet has {MOST_REPLICAS} replicas", "remove one of them first")
            add_replica(cluster, name, tell, owner)

    def resume_replica(self, name: str) -> None:
        """Have a standby stream: started or thawed, and only if that is not enough, as after `rejoin`."""
        with self._locked() as cluster:
            self._running(cluster, cluster.primary())
            if not build.is_standby(cluster.node(name)):
                raise LocalFleetError(
                    f"{name} is a primary", f"pgfleet local rejoin {name} makes it a standby"
                )
            resume_replica(cluster, name)

    def remove_replica(self, name: str, tell: Tell = lambda line: None) -> None:
        """End a standby, drop its slot and remove its files; also what an `add_replica` that was killed has left."""
        with self._locked() as cluster:
            if name not in (*cluster.names, *remnants(cluster)):
                cluster.node(name)
            remove_replica(cluster, name, tell)

    def owner(self, name: str) -> str:
        """What was said when the replica was added."""
        return owner(self._layout, name)

    @property
    def remnants(self) -> tuple[str, ...]:
        """Names of replicas that were killed while they joined or left. `add_replica` or `remove_replica` ends that."""
        return remnants(self._cluster())

    def _cluster(self) -> Cluster:
        """The fleet as its files have it now: another process may have changed it."""
        try:
            return Cluster(self._layout, FleetState.load(self._layout.state))
        except FileNotFoundError:
            raise LocalFleetError(
                f"there is no fleet in {self.directory} any more", "pgfleet local up starts one"
            ) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Cluster]:
        self._cluster()
        with self._layout.locked():
            yield self._cluster()

    def _running(self, cluster: Cluster, name: str, *also: ServerState) -> Server:
        server = cluster.server(name)
        state = server.state()
        if state not in (ServerState.RUNNING, *also):
            verb = "thaw" if state is ServerState.FROZEN else "restart"
            raise LocalFleetError(f"{name} is {state}", f"pgfleet local {verb} {name}")
        return server
