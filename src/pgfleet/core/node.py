"""One server: what a probe saw of it, and why it cannot be used when it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pgfleet.core.lsn import Lsn


class Role(StrEnum):
    """What a server said of itself (`pg_is_in_recovery()`), whatever the settings call it."""

    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Observation:
    """What one probe of one node saw.

    The times are of this process's monotonic clock: `asked_s` before the query was sent, `answered_s` after its row
    arrived. So the positions of a primary are at least those of `asked_s`, and those of a replica at most those of
    `answered_s`. Positions mean something within one `incarnation` and one `timeline` only.
    """

    asked_s: float
    answered_s: float
    role: Role
    system_id: int
    incarnation: str
    """`pg_postmaster_start_time()` in microseconds of the epoch: one life of the postmaster."""
    server_version: int
    """`server_version_num`, as 180006."""
    timeline: int | None
    """None: a replica on which no source that this role may read tells the timeline."""
    insert_lsn: Lsn | None = None
    flush_lsn: Lsn | None = None
    replay_lsn: Lsn | None = None
    receive_lsn: Lsn | None = None
    fork_lsn: Lsn | None = None
    """Of a primary: the last position that it replayed in this life: where it was promoted, if it was in this life."""
    replay_paused: bool = False
    wal_writer_delay_s: float = 0.2
    wal_block_bytes: int | None = None
    wal_segment_bytes: int | None = None
    xmin: int | None = None
    """Every transaction before this one has finished, as far as this server knows."""
    xmax: int | None = None
    """No transaction from this one on has."""
    finished: str | None = None
    """Which transactions of a primary have finished. Two that are equal: none has, from the one to the other."""
    standbys: frozenset[str] = frozenset()
    """`application_name` of each standby that streams from this primary."""
    is_aurora: bool = False
    """It replicates by its storage: its positions mean nothing."""
    aurora_lag_s: float | None = None
    """How late a reader of Aurora says it is; None: no reader, or it does not say."""


class Reason(StrEnum):
    """Why a node is left out of a read. The value is what people read."""

    REPLICAS_DISABLED = "read replicas are disabled"
    DRAINED = "is being drained"
    NOT_PROBED = "not probed yet"
    UNREACHABLE = "not answering"
    MISCONFIGURED = "refuses this configuration"
    IS_PRIMARY = "is the primary"
    IN_RECOVERY = "is in recovery: it takes no writes"
    FENCED = "is an old primary"
    SPLIT = "is one of two servers that claim to be the primary"
    FOREIGN_CLUSTER = "belongs to another cluster"
    CLUSTER_UNKNOWN = "no primary has told which cluster this is"
    DUPLICATE = "is the same server as another node"
    TIMELINE_UNPROVEN = "not yet proven to follow the primary's timeline"
    STALENESS_UNKNOWN = "its staleness is not known"
    STALE = "is staler than the read allows"
    NOT_CAUGHT_UP = "has not replayed what this read must see"
    BUSY = "has no free connection"
    EJECTED = "is much slower than the others"


UNPROVEN = frozenset(
    (
        Reason.CLUSTER_UNKNOWN,
        Reason.TIMELINE_UNPROVEN,
        Reason.STALENESS_UNKNOWN,
        Reason.STALE,
        Reason.NOT_PROBED,
        Reason.NOT_CAUGHT_UP,
    )
)
"""Reasons that another look at the node, and at the primary, may take away."""
