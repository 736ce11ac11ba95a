"""Observations and topologies for tests of the core, in few words."""

from __future__ import annotations

from typing import Any

from pgfleet.core.lsn import Lsn
from pgfleet.core.node import Observation, Reason, Role
from pgfleet.core.topology import NodeState, Topology, Trouble

DELAY_S = 0.2
SETTLE_S = 3 * DELAY_S


def saw_primary(at_s: float, lsn: int, flush: int | None = None, **more: Any) -> Observation:
    """A primary that stood at `lsn`, all of it flushed unless told else."""
    known: dict[str, Any] = {"answered_s": at_s, "system_id": 7, "incarnation": "p1", "timeline": 1}
    flushed = Lsn(lsn if flush is None else flush)
    return Observation(
        asked_s=at_s,
        role=Role.PRIMARY,
        server_version=180000,
        insert_lsn=Lsn(lsn),
        flush_lsn=flushed,
        wal_writer_delay_s=DELAY_S,
        **(known | more),
    )


def saw_replica(at_s: float, lsn: int | None, **more: Any) -> Observation:
    """A standby that had replayed up to `lsn`."""
    known: dict[str, Any] = {"answered_s": at_s, "system_id": 7, "incarnation": "r1", "timeline": 1}
    replay = None if lsn is None else Lsn(lsn)
    return Observation(
        asked_s=at_s, role=Role.REPLICA, server_version=180000, replay_lsn=replay, **(known | more)
    )


def fleet(replicas: int = 2, **more: Any) -> Topology:
    """A primary and replicas of which nothing is known yet."""
    names = ["primary", *(f"replica-{n}" for n in range(1, replicas + 1))]
    return Topology(tuple(map(NodeState, names)), **more)


def down(at_s: float, reason: Reason = Reason.UNREACHABLE) -> Trouble:
    return Trouble(reason, "it said nothing", at_s)
