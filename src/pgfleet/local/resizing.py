"""Replicas that join and leave a fleet that runs. Whoever ends a join half-way leaves a directory, which is found."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL

from pgfleet.errors import LocalFleetError
from pgfleet.local import build
from pgfleet.local.account import Account
from pgfleet.local.cluster import Cluster, keep_slot
from pgfleet.local.configuration import cluster_name, conninfo, slot_name
from pgfleet.local.freeports import reserved_ports
from pgfleet.local.layout import Layout
from pgfleet.local.processes import Process, processes_of
from pgfleet.local.server import LocalNode, Server, ServerState
from pgfleet.local.state import NodeState

NAME = re.compile("[a-z][a-z0-9-]{0,49}")
RESUME_TIMEOUT_S = 5.0
SWEEP_TIMEOUT_S = 15.0
OWNER = "owner"
NOBODY_S_TITLE = "\0"
"""No process calls itself so."""

Tell = Callable[[str], None]


def remnants(cluster: Cluster) -> tuple[str, ...]:
    """The names under which files lie that belong to no node: of joins and leaves that did not come to their end."""
    there = {path.name for path in cluster.layout.nodes.glob("*")}
    return tuple(sorted(there - set(cluster.names)))


def owner(layout: Layout, name: str) -> str:
    """For whom a replica was added; empty: for nobody in particular."""
    path = layout.node(name) / OWNER
    return path.read_text() if path.exists() else ""


def add_replica(cluster: Cluster, name: str, tell: Tell, owned_by: str = "") -> None:
    """Make a new standby of the present primary, under a lock of the caller's, and wait until it streams.

    It is in the state when its copy is whole. Until then only its directory tells of it.
    """
    if not NAME.fullmatch(name) or name in cluster.names:
        wrong = "is in the fleet already" if name in cluster.names else "is no name of a node"
        raise LocalFleetError(f"{name!r} {wrong}", "name another: lower-case letters, digits and -")
    primary = cluster.primary()
    with reserved_ports(1) as (port,):
        node = NodeState(name, port, primary)
        joined = Cluster(cluster.layout, cluster.state.having(node))
        _sweep(joined.layout, name)
        build.make_node_directory(joined.state.account, joined.node(name))
        joined.node(name).directory.joinpath(OWNER).write_text(owned_by)
        with joined.session(primary) as session:
            keep_slot(session, slot_name(name))
        tell(f"copying {primary}")
        source = conninfo(joined.layout, joined.node(primary).port, name)
        build.copy_running(joined.state.account, joined.tool("pg_basebackup"), joined.node(name), source)
    build.mark_standby(joined.state.account, joined.node(name))  # before anybody takes it for a primary
    joined.state.save(joined.layout.state)
    tell("starting")
    joined.start_standby(name, primary)


def resume_replica(cluster: Cluster, name: str) -> None:
    """Have a standby stream from the present primary, under a lock of the caller's: by the least that does it."""
    primary, server = cluster.primary(), cluster.server(name)
    if cluster.state.node(name).upstream == primary:
        with contextlib.suppress(LocalFleetError):
            server.thaw()
            if server.state() is ServerState.STOPPED:
                cluster.spawn(name)
            server.wait_ready(RESUME_TIMEOUT_S)
            return cluster.wait_streaming(primary, name, RESUME_TIMEOUT_S)
    cluster.follow(name, primary)
    return None


def remove_replica(cluster: Cluster, name: str, tell: Tell) -> None:
    """End a standby, or what is left of one, drop its slot and remove its files, under a lock of the caller's."""
    if name in cluster.names:
        _check_removable(cluster, name)
        tell("stopping")
        cluster.server(name).stop()
    _sweep(cluster.layout, name)
    tell("dropping its slot")
    for other in cluster.names:
        if other != name and cluster.server(other).state() is ServerState.RUNNING:
            _drop_slot(cluster, other, slot_name(name))
    cluster.state.without(name).save(cluster.layout.state)
    tell("removing its files")
    shutil.rmtree(cluster.layout.node(name), ignore_errors=True)


def _check_removable(cluster: Cluster, name: str) -> None:
    if not build.is_standby(cluster.node(name)):
        raise LocalFleetError(
            f"{name} is a primary, which is not removed", "pgfleet local down ends the fleet"
        )
    followers = [node.name for node in cluster.state.nodes if node.upstream == name != node.name]
    if followers:
        raise LocalFleetError(
            f"{', '.join(followers)} follows {name}", f"pgfleet local rejoin {followers[0]}"
        )


def _drop_slot(cluster: Cluster, name: str, slot: str) -> None:
    """The walsender of a standby that has ended holds its slot a moment longer."""
    slots = "select slot_name, active from pg_replication_slots"
    with cluster.session(name) as session:
        cluster.wait(lambda: (slot, "t") not in session.query(slots), f"{name} still sends to {slot}")
        if (slot, "f") in session.query(slots):
            session.query(f"select pg_drop_replication_slot('{slot}')")


def remnant(layout: Layout, name: str) -> Server:
    """A server known by its directory alone: enough to end it, whatever has become of the state."""
    directory = layout.node(name)
    node = LocalNode(name, 0, directory, slot="", application_name=name)
    owner = (node.data_directory if node.data_directory.exists() else directory).stat()
    return Server(node, cluster_name(layout, name), Path("postgres"), Account(owner.st_uid, owner.st_gid))


def _sweep(layout: Layout, name: str) -> None:
    """End whatever still works in a node's directory: a server, or a copy whose starter was killed."""
    if layout.node(name).exists():
        left = remnant(layout, name)
        left.sweep()
        left.wait(lambda: not _killed(left.node.data_directory), SWEEP_TIMEOUT_S, "let go of its directory")


def _killed(data_directory: Path) -> list[Process]:
    """Those that have the directory on their command lines, each sent SIGKILL."""
    left = processes_of(str(data_directory), NOBODY_S_TITLE)
    for process in left:
        process.send(SIGKILL)
    return left
