"""A snapshot -> every finding, causes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pgfleet.core.diagnosis import (
    configuration,
    connections,
    feeding,
    host,
    identity,
    lag,
    reachability,
    replay,
    sessions,
    sight,
    slots,
)
from pgfleet.core.diagnosis.finding import Finding
from pgfleet.core.diagnosis.fleet import Fleet
from pgfleet.core.diagnosis.order import in_order
from pgfleet.core.diagnosis.snapshot import Snapshot
from pgfleet.core.diagnosis.thresholds import Thresholds

RULES: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    reachability.unreachable,
    identity.no_primary,
    identity.two_primaries,
    identity.wrong_cluster,
    identity.version_skew,
    identity.same_server,
    identity.moved_roles,
    identity.wrong_timeline,
    feeding.wal_level,
    feeding.walsenders_exhausted,
    feeding.receivers,
    feeding.missing_senders,
    feeding.upstreams,
    replay.settings_below,
    replay.paused,
    replay.delayed,
    replay.waiting,
    replay.conflicts,
    replay.unbounded_wait,
    lag.lagging,
    host.synchronous,
    host.disks,
    host.archiving,
    host.clocks,
    slots.slots,
    slots.unbounded,
    slots.exhausted,
    connections.nearly_full,
    connections.pools,
    sessions.idle_transactions,
    sessions.prepared_transactions,
    sessions.held_xmin,
    sessions.long_statements,
    configuration.read_only_default,
    configuration.not_durable,
    configuration.without_slot,
    configuration.not_rewindable,
    configuration.pending_restarts,
    configuration.unlogged_tables,
    sight.fleet_as_such,
    sight.special_nodes,
    sight.privileges,
    sight.unanswered,
)
"""One small function for each theme. Each sees the whole fleet."""


def diagnose(snapshot: Snapshot, thresholds: Thresholds | None = None) -> tuple[Finding, ...]:
    """Everything that is wrong, causes before what they explain, the worst first."""
    fleet = Fleet(snapshot, thresholds or Thresholds())
    found = [finding for rule in RULES for finding in rule(fleet)]
    return in_order(found, tuple(node.name for node in snapshot.nodes))
