"""The nodes of a fleet as a whole: building them, bringing them up, making one of them follow the primary again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pgfleet.errors import LocalFleetError
from pgfleet.local import build
from pgfleet.local.configuration import (
    DATABASE,
    PLAIN_USER,
    SUPERUSER,
    cluster_name,
    conninfo,
    hba_conf,
    pgpass,
    server_conf,
    slot_name,
)
from pgfleet.local.layout import Layout
from pgfleet.local.scram import scram_verifier
from pgfleet.local.server import LocalNode, Server, ServerState
from pgfleet.local.session import Session
from pgfleet.local.state import FleetState

FOLLOW_TIMEOUT_S = 30.0
REWOUND_TIMEOUT_S = 10.0
CHECKPOINT_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A fleet at one moment of its state."""

    layout: Layout
    state: FleetState

    @property
    def names(self) -> tuple[str, ...]:
        """`primary`, `replica-1`, ...: names of nodes, whatever their roles are by now."""
        return tuple(node.name for node in self.state.nodes)

    def node(self, name: str) -> LocalNode:
        """Raises LocalFleetError for a name that is not in the fleet."""
        port = self.state.node(name).port
        return LocalNode(name, port, self.layout.node(name), slot=slot_name(name), application_name=name)

    def server(self, name: str) -> Server:
        """The processes of a node."""
        return Server(
            self.node(name), cluster_name(self.layout, name), self.tool("postgres"), self.state.account
        )

    def session(self, name: str, timeout_s: float = 10.0) -> Session:
        """A session of the superuser's. Raises LocalFleetError when the node takes none."""
        return Session(self.node(name).port, SUPERUSER, self.state.password, DATABASE, timeout_s)

    def primary(self) -> str:
        """The node that is no standby, on the highest timeline: an old primary that came back stands on a lower one."""
        candidates = [name for name in self.names if not build.is_standby(self.node(name))]
        if not candidates:
            raise LocalFleetError("every node is a standby", "pgfleet local promote one of them")
        return max(candidates, key=lambda name: build.timeline(self.node(name)))

    def build(self) -> None:
        """Make every data directory, from nothing. No server runs yet."""
        account = self.state.account
        self.layout.hba.write_text(hba_conf())
        self.layout.hba.chmod(0o644)
        build.write_for(account, self.layout.passfile, pgpass(self.state.password))
        first, *others = (self.node(name) for name in self.names)
        for node in (first, *others):
            build.make_node_directory(account, node)
        build.initialise(account, self.tool("initdb"), first, self.state.password)
        build.copy_stopped(account, first, others)

    def start_first_time(self) -> None:
        """Start the nodes; make slots, and the plain role, which owns the database; wait until every replica has it."""
        primary, *replicas = self.names
        self.spawn(primary)
        self.server(primary).wait_ready()
        with self.session(primary) as session:
            for name in replicas:
                session.query(f"select pg_create_physical_replication_slot('{slot_name(name)}', true)")
            for name in replicas:
                self.spawn(name)
            session.query(_first_objects(self.state.plain_password))
        for name in replicas:
            self.server(name).wait_ready()
            self._wait_for_row(name, "select rolname from pg_roles", (PLAIN_USER,))
            self.wait_streaming(primary, name)

    def bring_up(self) -> None:
        """Start every stopped node. One that was a primary before the present one was promoted rejoins as a standby."""
        primary = self.primary()
        stopped = [name for name in self.names if self.server(name).state() is ServerState.STOPPED]
        outlived = [name for name in stopped if name != primary and not build.is_standby(self.node(name))]
        starting = [name for name in stopped if name not in outlived]
        for name in starting:
            self.spawn(name)
        for name in starting:
            self.server(name).wait_ready()
        if self.server(primary).state() is ServerState.RUNNING:
            self._gather(primary, starting, outlived)

    def _gather(self, primary: str, standbys: list[str], outlived: list[str]) -> None:
        """Wait for the standbys of `primary` among those that start, and make those it outlived its standbys."""
        for name in standbys:
            if name != primary and self.state.node(name).upstream == primary:
                self.wait_streaming(primary, name)
        for name in outlived:
            self.follow(name, primary)

    def spawn(self, name: str) -> None:
        """Start a node with its configuration as the state has it now, and do not wait."""
        self.configure(name)
        self.server(name).spawn()

    def configure(self, name: str) -> None:
        """Write a node's configuration. It holds no password, and the servers' user must read it."""
        path = self.node(name).configuration
        path.write_text(server_conf(self.layout, self.state, self.state.node(name)))
        path.chmod(0o644)

    def changed(
        self, name: str, *, upstream: str | None = None, apply_delay_s: float | None = None
    ) -> Cluster:
        """The cluster with one node's state changed, for all callers."""
        state = self.state.changed(name, upstream=upstream, apply_delay_s=apply_delay_s)
        state.save(self.layout.state)
        return Cluster(self.layout, state)

    def follow(self, name: str, primary: str) -> None:
        """Make a node a standby of `primary`: by pg_rewind, or else as a new copy of it."""
        with self.session(primary) as session:
            keep_slot(session, slot_name(name))
        self.server(name).stop()
        self.server(name).sweep()
        needs_copy = self._has_a_namesake_of_the_timeline(name, primary)
        changed = self.changed(name, upstream=primary)
        if needs_copy or not changed._follows_rewound(name, primary):
            changed._follow_as_copy(name, primary)
        changed._drop_old_slots(name, primary)

    def _has_a_namesake_of_the_timeline(self, name: str, primary: str) -> bool:
        """Whether two promotions took one number, as they do when neither node knew of the other's.

        pg_rewind then finds nothing to do, and what this node alone has would stay under what it receives. One
        timeline has one origin: on it are the node that was promoted and those that follow it, one through another.
        """
        is_as_high = build.timeline(self.node(name)) >= build.timeline(self.node(primary))
        return is_as_high and self._origin(name) != primary

    def _origin(self, name: str) -> str:
        """The node that is no standby, up the chain of those whom each follows; any of them where it is a ring."""
        for _ in self.names:
            if not build.is_standby(self.node(name)):
                break
            name = self.state.node(name).upstream
        return name

    def _follows_rewound(self, name: str, primary: str) -> bool:
        """False when it cannot be rewound, or the WAL that it needs then is gone."""
        source = conninfo(self.layout, self.node(primary).port, name)
        # Before 16, pg_rewind learns of a new timeline only from a checkpoint on it.
        self._checkpoint(primary)
        tool, nodes = self.tool("pg_rewind"), (self.node(name), self.node(primary))
        if not build.rewind(self.state.account, tool, *nodes, source):
            return False
        # pg_rewind makes it wait for the insert LSN, which a quiet primary does not send.
        self._checkpoint(primary)
        with contextlib.suppress(LocalFleetError):
            self.start_standby(name, primary, REWOUND_TIMEOUT_S)
            return True
        self.server(name).kill()
        return False

    def _follow_as_copy(self, name: str, primary: str) -> None:
        source = conninfo(self.layout, self.node(primary).port, name)
        build.copy_running(self.state.account, self.tool("pg_basebackup"), self.node(name), source)
        self.start_standby(name, primary)

    def start_standby(self, name: str, primary: str, within_s: float = FOLLOW_TIMEOUT_S) -> None:
        """Start a node as a standby, whatever its data is of, and wait until it streams from `primary`."""
        build.mark_standby(self.state.account, self.node(name))
        self.spawn(name)
        self.server(name).wait_ready(within_s)
        self.wait_streaming(primary, name, within_s)

    def delay_replay(self, name: str) -> None:
        """Let a standby replay as late as the state says, and no longer paused."""
        self.configure(name)
        self.server(name).reload()
        wanted_ms = str(round(self.state.node(name).apply_delay_s * 1000))
        query = "select setting from pg_settings where name = 'recovery_min_apply_delay'"
        with self.session(name) as session:
            session.query("select pg_wal_replay_resume()")
            self.wait(lambda: session.query(query) == [(wanted_ms,)], f"{name} has not read its new delay")

    def pause_replay(self, name: str) -> None:
        """Let a standby replay nothing from now on."""
        with self.session(name) as session:
            session.query("select pg_wal_replay_pause()")
            self.wait(
                lambda: (
                    session.query("select pg_get_wal_replay_pause_state()") == [("paused",)]
                    or self.state.node(name).apply_delay_s > 0
                ),  # then the pause begins, at the latest, when the delay ends
                f"{name} does not pause its replay",
            )

    def tool(self, name: str) -> Path:
        """The path of one of PostgreSQL's programs."""
        return Path(self.state.pg_bin, name)

    def _checkpoint(self, name: str) -> None:
        with self.session(name, timeout_s=CHECKPOINT_TIMEOUT_S) as session:
            session.query("checkpoint")

    def _drop_old_slots(self, name: str, primary: str) -> None:
        """Slots that nobody uses keep WAL for ever: those of the time when this node was a primary, and this node's own
        on whatever node it followed."""
        for other in self.names:
            if other != primary and self.server(other).state() is ServerState.RUNNING:
                for slot in self._unused_slots(other) & set(self.names if other == name else (name,)):
                    # One that a lost standby has taken up again goes when that standby rejoins.
                    with contextlib.suppress(LocalFleetError), self.session(other) as session:
                        session.query(f"select pg_drop_replication_slot('{slot_name(slot)}')")

    def _unused_slots(self, name: str) -> set[str]:
        """The nodes whose slots on this one are not in use."""
        with self.session(name) as session:
            unused = session.query("select slot_name from pg_replication_slots where not active")
        return {owner for owner in self.names if (slot_name(owner),) in unused}

    def wait_streaming(self, primary: str, name: str, within_s: float = FOLLOW_TIMEOUT_S) -> None:
        """Wait until a standby streams from `primary`. Raises LocalFleetError when it does not in time."""
        query = "select application_name, state from pg_stat_replication"
        self._wait_for_row(primary, query, (name, "streaming"), within_s)

    def _wait_for_row(
        self, name: str, query: str, row: tuple[str, ...], within_s: float = FOLLOW_TIMEOUT_S
    ) -> None:
        with self.session(name) as session:
            self.wait(lambda: row in session.query(query), f"{name} does not show {', '.join(row)}", within_s)

    def wait(self, condition: Callable[[], bool], complaint: str, within_s: float = FOLLOW_TIMEOUT_S) -> None:
        """Ask until it is so. Raises LocalFleetError with the complaint when it is not within `within_s`."""
        deadline_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline_s:
                hint = f"see {self.layout.nodes}/*/server.log; pgfleet local rejoin mends a standby"
                raise LocalFleetError(complaint, hint)
            time.sleep(0.005)


def _first_objects(plain_password: str) -> str:
    """The statements, one transaction of them, that make the plain role at home in the database."""
    return f"""
        create role {PLAIN_USER} login password '{scram_verifier(plain_password)}';
        alter database {DATABASE} owner to {PLAIN_USER};
        alter default privileges in schema public grant all on tables to {PLAIN_USER};
        alter default privileges in schema public grant all on sequences to {PLAIN_USER};
    """


def keep_slot(session: Session, slot: str) -> None:
    """Have a slot that keeps WAL from now on; one whose WAL is gone already is of no use."""
    slots = session.query("select slot_name, wal_status from pg_replication_slots")
    if (slot, "lost") in slots:
        session.query(f"select pg_drop_replication_slot('{slot}')")
    if slot not in [name for name, status in slots if status != "lost"]:
        session.query(f"select pg_create_physical_replication_slot('{slot}', true)")
