"""What one server says of itself: a class for each question.

The attributes of these classes are the columns of `questions`. A value that the server does not tell to such a role,
or that its version does not have, is None: unknown is never 0. Positions are in bytes, as `core.lsn` has them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Server:
    """What a server is."""

    version: int
    """`server_version_num`: 150018."""
    in_recovery: bool
    is_aurora: bool
    system_id: str | None
    started_us: int
    """When its postmaster started, in microseconds: with `system_id` it tells two servers apart."""
    timeline: int | None
    role: str
    database: str
    reads_stats: bool
    """The role has `pg_read_all_stats`, which `pg_monitor` brings."""
    reads_settings: bool
    lists_wal: bool
    on_this_host: bool
    """Our address and the server's are the same one, or a socket lies between us."""
    database_limit: int | None
    """`datconnlimit`; None: without a limit of its own."""
    role_limit: int | None

    @property
    def major(self) -> int:
        """15."""
        return self.version // 10_000

    @property
    def version_text(self) -> str:
        """`15.18`."""
        return f"{self.major}.{self.version % 10_000}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of `pg_settings`."""

    name: str
    setting: str
    """In the unit that the manual gives as the base unit of this setting."""
    reset_val: str
    """What a session begins with, whatever this one has set."""
    pending_restart: bool


@dataclass(frozen=True, slots=True)
class Sender:
    """One row of `pg_stat_replication`, and the slot that its walsender holds."""

    pid: int
    role: str | None
    """Whom its standby logs in as."""
    application_name: str
    client_address: str | None
    state: str | None
    sent: int | None
    written: int | None
    flushed: int | None
    replayed: int | None
    replay_lag_s: float | None
    sync_state: str | None
    xmin_age: int | None
    slot: str | None


@dataclass(frozen=True, slots=True)
class Slot:
    """One row of `pg_replication_slots`."""

    name: str
    kind: str
    active: bool
    active_pid: int | None
    restart: int | None
    xmin_age: int | None
    """The older of `xmin` and `catalog_xmin`, in transactions."""
    wal_status: str | None
    inactive_s: float | None
    reason: str | None
    """Why it is invalid; PostgreSQL 17 and newer."""
    synced: bool | None


@dataclass(frozen=True, slots=True)
class Receiver:
    """The row of `pg_stat_wal_receiver`. A role without `pg_read_all_stats` sees the pid alone."""

    pid: int
    status: str | None
    received_timeline: int | None
    slot: str | None
    sender_host: str | None
    sender_port: int | None
    application_name: str | None


@dataclass(frozen=True, slots=True)
class Positions:
    """Where a server stands."""

    clock_s: float
    """Its own clock, in seconds since 1970."""
    inserted: int | None
    flushed: int | None
    received: int | None
    replayed: int | None
    pause_state: str | None
    """`not paused`, `pause requested`, `paused`; None: it replays nothing."""
    last_replayed_s: float | None
    """When the transaction that it replayed last was committed, by the clock of the primary of then."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a server's positions. Two of them make a rate."""

    asked_s: float
    """By our own wall clock, in seconds since 1970."""
    answered_s: float
    positions: Positions
    senders: tuple[Sender, ...] = ()
    receiver: Receiver | None = None
    conflicts: int | None = None
    """Statements that replay has cancelled since the statistics began."""

    @property
    def clock_offset_s(self) -> float:
        """How far the server's clock is ahead of ours, give or take `clock_error_s`."""
        return self.positions.clock_s - (self.asked_s + self.answered_s) / 2

    @property
    def clock_error_s(self) -> float:
        """Half the round trip."""
        return (self.answered_s - self.asked_s) / 2


@dataclass(frozen=True, slots=True)
class Session:
    """One client's transaction, of `pg_stat_activity`. Its statement is left out: it may hold a secret."""

    pid: int
    role: str | None
    application_name: str | None
    state: str | None
    transaction_s: float
    statement_s: float
    state_s: float
    xmin_age: int | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction that was prepared for a two-phase commit, and still waits for its end."""

    gid: str
    age_s: float
    xmin_age: int


@dataclass(frozen=True, slots=True)
class Use:
    """How the server is used."""

    connections: int
    """All backends that are connected to a database."""
    role_connections: int
    database_connections: int
    waiting_for_sync: int | None
    """Backends whose commit waits for a synchronous standby."""
    replay_waits_for: str | None
    """What the startup process waits for, by `wait_event`."""
    unlogged_tables: int


@dataclass(frozen=True, slots=True)
class Archiver:
    """The row of `pg_stat_archiver`."""

    failed: int
    last_failed_file: str | None
    failed_s: float | None
    """How long ago it failed last."""
    archived_s: float | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a standby is told to find its primary. The password that stands beside it is never read."""

    host: str | None
    port: int | None
    application_name: str | None
    slot: str | None


@dataclass(frozen=True, slots=True)
class Wal:
    """The files in `pg_wal`."""

    total_bytes: int
    oldest_file: str | None


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that the data directory is on, seen from this host."""

    directory: str
    total_bytes: int
    free_bytes: int
    """What an ordinary user may still take."""

    @property
    def used_share(self) -> float:
        """The used part, as `df` has it, from 0 to 1."""
        return 1 - self.free_bytes / self.total_bytes if self.total_bytes else 0.0
