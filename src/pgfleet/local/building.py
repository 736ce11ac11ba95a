"""A fleet from nothing."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

from pgfleet.errors import LocalFleetError
from pgfleet.local.account import Account
from pgfleet.local.binaries import find_binaries
from pgfleet.local.cluster import Cluster
from pgfleet.local.freeports import reserved_ports
from pgfleet.local.layout import Layout, state_root
from pgfleet.local.state import FleetState, NodeState, Setting

PRIMARY = "primary"


def is_built(layout: Layout) -> bool:
    """Whether a whole fleet is there, not what an attempt left."""
    try:
        return FleetState.load(layout.state).is_built
    except FileNotFoundError:
        return False


def build_fleet(
    layout: Layout,
    account: Account,
    replicas: int,
    pg_bin: str | Path | None,
    settings: dict[str, Setting],
) -> None:
    """Build a fleet. When that fails its servers end, its logs stay, and the next attempt begins from nothing."""
    try:
        binaries = find_binaries(pg_bin, account, state_root(account))
    except LocalFleetError:
        layout.clear()  # nothing is there yet but the lock
        raise
    names = (PRIMARY, *(f"replica-{number}" for number in range(1, replicas + 1)))
    with reserved_ports(len(names)) as ports:
        state = FleetState(
            pg_bin=str(binaries.directory),
            postgresql=binaries.version,
            uid=account.uid,
            gid=account.gid,
            password=secrets.token_urlsafe(18),
            plain_password=secrets.token_urlsafe(18),
            settings=settings,
            nodes=tuple(NodeState(name, port, PRIMARY) for name, port in zip(names, ports, strict=True)),
        )
        state.save(layout.state)
        cluster = Cluster(layout, state)
        cluster.build()
    try:
        cluster.start_first_time()
    except BaseException:
        for name in names:
            cluster.server(name).kill()
        raise
    replace(state, is_built=True).save(layout.state)
