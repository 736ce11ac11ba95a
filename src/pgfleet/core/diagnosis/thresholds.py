"""Where a figure begins to be a finding."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1 << 20
GB = 1 << 30


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Those of `pgfleet doctor`. Lag is judged as the monitoring API judges it."""

    lag_warning_s: float = 5.0
    lag_critical_s: float = 10.0
    slot_bytes: int = 1 * GB
    """What a slot keeps before it is told though nothing is wrong with it."""
    slot_share: float = 0.5
    """The part of `max_slot_wal_keep_size` that a slot may take."""
    statement_s: float = 60.0
    """How long a statement on a replica runs before it is told."""
    idle_transaction_s: float = 300.0
    prepared_s: float = 300.0
    xmin_age: int = 10_000_000
    """For how many transactions the oldest snapshot may keep dead rows."""
    connections_warning_share: float = 0.8
    connections_critical_share: float = 0.9
    disk_warning_share: float = 0.85
    disk_critical_share: float = 0.95
    clock_s: float = 1.0
