"""Every kind of finding: what it means, where the manual speaks of it, and what it can be the consequence of.

The order of the table is the order of causes: of two findings that are equally bad, the one that stands higher here is
shown first. A finding of which a cause is found too, on the same node, is shown beneath that cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pgfleet.core.diagnosis.obstacle import Obstacle

MANUAL = "https://www.postgresql.org/docs/current/"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is the same of every finding with this id."""

    title: str
    meaning: str
    page: str
    causes: tuple[str, ...] = ()
    """The ids that explain it when they are found of the same node."""
    anywhere: bool = False
    """A cause explains it whichever node it is found on."""

    @property
    def manual(self) -> str:
        """The page of PostgreSQL's manual."""
        return MANUAL + self.page


UNREACHABLE = tuple(str(obstacle) for obstacle in Obstacle)
_NOT_FED = (
    "wrong-cluster",
    "wal-level-minimal",
    "walsenders-exhausted",
    "slot-lost",
    "slot-missing",
    "wal-removed",
)
_NO_PRIMARY = ("no-primary",)
_NOT_STREAMING = (*UNREACHABLE, "two-primaries", "wrong-timeline", *_NOT_FED, "walreceiver-down")
_REPLAY = ("setting-below-primary", "replay-paused", "apply-delay", "replay-waits")

_CONNECT = "client-authentication-problems.html"
_START = "runtime-config-connection.html"

CATALOGUE: Final[Mapping[str, Kind]] = MappingProxyType({
    # The way to the server.
    "dns-failed": Kind(
        "its name leads nowhere",
        "The host of the connection string cannot be resolved here, so no connection was tried.",
        "libpq-connect.html#LIBPQ-CONNECT-HOST",
    ),
    "socket-missing": Kind(
        "its socket is not there",
        "No server listens on this socket: it does not run, or keeps its socket elsewhere.",
        "runtime-config-connection.html#GUC-UNIX-SOCKET-DIRECTORIES",
    ),
    "tcp-refused": Kind(
        "refuses TCP connections",
        "The host answers, and nothing listens on this port: the server does not run, listens on another port or"
        " address, or a firewall rejects us.",
        "server-start.html#CLIENT-CONNECTION-PROBLEMS",
    ),
    "host-unreachable": Kind(
        "no way leads to its host",
        "The network says that it cannot reach this address: the host is down, or the route or a rule is missing.",
        "server-start.html#CLIENT-CONNECTION-PROBLEMS",
    ),
    "tcp-timeout": Kind(
        "swallows TCP connections",
        "Nothing answers the first packet: a firewall or security group drops it, or the host is gone.",
        "server-start.html#CLIENT-CONNECTION-PROBLEMS",
    ),
    "node-silent": Kind(
        "takes connections, and answers nobody",
        "The kernel of its host takes the connection and the server says nothing: it is frozen, its disk hangs, its"
        " machine is overloaded, or a proxy in between has lost it.",
        "monitoring-stats.html",
    ),
    "not-postgresql": Kind(
        "speaks another protocol",
        "Something else than PostgreSQL listens on this port.",
        "protocol-flow.html",
    ),
    "tls-not-offered": Kind(
        "offers no TLS",
        "The connection string asks for TLS, and the server is set up without.",
        "ssl-tcp.html",
    ),
    "tls-certificate": Kind(
        "its certificate does not verify",
        "The server's certificate is not signed by the authority that is trusted here, does not bear this host name,"
        " or has expired.",
        "libpq-ssl.html#LIBQ-SSL-CERTIFICATES",
    ),
    "tls-failed": Kind(
        "TLS fails",
        "Both sides want TLS, and the handshake fails: a file of ours is missing, or they agree on no version.",
        "libpq-ssl.html",
    ),
    "node-starting": Kind(
        "is starting or shutting down",
        "The server answers and takes no connections yet: it recovers, has not reached a consistent state, goes down,"
        " or is a standby with hot_standby=off.",
        "hot-standby.html",
    ),
    "connections-full": Kind(
        "has no connection left",
        "All connections that the server, the database or the role may have are taken.",
        "runtime-config-connection.html#GUC-MAX-CONNECTIONS",
    ),
    "login-refused": Kind(
        "does not let this role in from here",
        "pg_hba.conf has no line that lets this role into this database from this address, or the role may not log"
        " in.",
        _CONNECT,
    ),
    "password-wrong": Kind(
        "the password is wrong",
        "The server knows another password for this role, or does not know the role: it does not tell which.",
        "auth-password.html",
    ),
    "password-missing": Kind(
        "asks for a password",
        "The settings hold no password for this node, and what the driver found elsewhere (PGPASSWORD, the password"
        " file), if anything, was not taken.",
        "libpq-pgpass.html",
    ),
    "database-missing": Kind(
        "does not have the database",
        "The server answers, and has no database of this name.",
        "manage-ag-createdb.html",
    ),
    "connect-denied": Kind(
        "the role may not connect to the database",
        "The role has no CONNECT privilege on this database.",
        "sql-grant.html",
    ),
    "connection-failed": Kind(
        "cannot be connected to",
        "The driver could not open a connection, for the reason it gives.",
        _CONNECT,
    ),
    # Who is who.
    "no-primary": Kind(
        "no primary answers",
        "No node that answers takes writes. Reads go on from replicas; nothing can be written.",
        "warm-standby-failover.html",
        causes=UNREACHABLE,
        anywhere=True,
    ),
    "two-primaries": Kind(
        "takes writes beside another primary",
        "A replica was promoted while this server lives on. What is written here is on a branch of history that the"
        " others will never see, and is lost when this server is made a standby again.",
        "warm-standby-failover.html",
    ),
    "wrong-cluster": Kind(
        "belongs to another cluster",
        "Its system identifier is not the primary's: it is no copy of this primary, and can never follow it.",
        "functions-info.html#FUNCTIONS-PG-CONTROL-SYSTEM",
    ),
    "version-skew": Kind(
        "another version of PostgreSQL",
        "Streaming works between equal major versions alone. Minor versions may differ for the time of an update; the"
        " standbys are updated first.",
        "warm-standby.html#STANDBY-PLANNING",
        causes=("wrong-cluster",),
    ),
    "same-server": Kind(
        "is a server that the settings have already",
        "Two names lead to one server: it gets twice the reads, and its end is the end of both.",
        "libpq-connect.html#LIBPQ-CONNSTRING",
    ),
    "roles-moved": Kind(
        "is no longer the primary",
        "DATABASE_URL leads to a standby, and another node takes writes: there was a failover. pgfleet follows it;"
        " whatever else uses this address does not.",
        "warm-standby-failover.html",
    ),
    "replica-is-primary": Kind(
        "is listed as a replica, and takes writes",
        "It is the primary of this fleet by now, and takes reads only when no replica can.",
        "warm-standby-failover.html",
        causes=("roles-moved", "two-primaries", *UNREACHABLE),
        anywhere=True,
    ),
    "wrong-timeline": Kind(
        "stays on a timeline that was left",
        "A replica was promoted, and this standby did not come along: it follows the old primary, or nobody. It serves"
        " what was true before the promotion.",
        "continuous-archiving.html#BACKUP-TIMELINES",
        causes=("two-primaries",),
        anywhere=True,
    ),
    # What feeds a replica.
    "wal-level-minimal": Kind(
        "writes too little log for replicas",
        "With wal_level=minimal no standby can be made from this server, and none can follow it.",
        "runtime-config-wal.html#GUC-WAL-LEVEL",
    ),
    "setting-below-primary": Kind(
        "a setting is below the primary's",
        "A standby must have room for everything that the primary may do. With less it stops replaying (PostgreSQL 14"
        " and newer), or does not start.",
        "hot-standby.html#HOT-STANDBY-ADMIN",
    ),
    "walsenders-exhausted": Kind(
        "has no walsender left",
        "All of max_wal_senders are taken: another replica, or a base backup, is refused.",
        "runtime-config-replication.html#GUC-MAX-WAL-SENDERS",
    ),
    "slot-lost": Kind(
        "a slot has lost its log",
        "The slot kept more than max_slot_wal_keep_size allows, so the primary removed what the replica still needs."
        " The replica must be copied anew, unless an archive has it.",
        "view-pg-replication-slots.html",
        causes=UNREACHABLE,
    ),
    "slot-missing": Kind(
        "the slot it asks for is not there",
        "The standby names a slot in primary_slot_name that the server it follows does not have, and is refused.",
        "warm-standby.html#STREAMING-REPLICATION-SLOTS",
    ),
    "wal-removed": Kind(
        "the log it needs is gone",
        "It has no slot, and the primary has removed the log that comes next for it. It must be copied anew, unless an"
        " archive has it.",
        "warm-standby.html#STREAMING-REPLICATION",
    ),
    "walreceiver-down": Kind(
        "receives nothing",
        "Its walreceiver does not run, so nothing new reaches it and its data grows older.",
        "warm-standby.html#STREAMING-REPLICATION",
        causes=("wrong-timeline", *_NOT_FED),
    ),
    "no-walsender": Kind(
        "sends nothing to a replica",
        "pg_stat_replication of the primary has no row for this replica.",
        "monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW",
        causes=_NOT_STREAMING,
    ),
    # What holds up its replay.
    "replay-paused": Kind(
        "its replay is paused",
        "It goes on receiving and shows nothing of it. Its data is that of the moment when it was paused, and the log"
        " on its disk grows.",
        "functions-admin.html#FUNCTIONS-RECOVERY-CONTROL",
        causes=("setting-below-primary",),
    ),
    "apply-delay": Kind(
        "replays late by its settings",
        "recovery_min_apply_delay holds every commit back. That is meant for a copy to rescue data from, not for one"
        " that serves reads.",
        "runtime-config-replication.html#GUC-RECOVERY-MIN-APPLY-DELAY",
    ),
    "replay-waits": Kind(
        "its replay waits for a query",
        "A statement on the replica still needs what replay is about to remove. Replay waits up to"
        " max_standby_streaming_delay, then it cancels the statement.",
        "hot-standby.html#HOT-STANDBY-CONFLICT",
    ),
    "replica-lags": Kind(
        "is behind",
        "It has not replayed for a while what the primary has written. Reads that may not be so stale go elsewhere.",
        "monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW",
        causes=(*_NOT_STREAMING, *_REPLAY),
    ),
    "sync-standby-missing": Kind(
        "commits wait for a standby that is not there",
        "synchronous_standby_names asks for more standbys than stream. Every commit waits until one comes back, or"
        " until the setting is changed.",
        "warm-standby.html#SYNCHRONOUS-REPLICATION",
        causes=(*_NOT_STREAMING, "no-walsender"),
        anywhere=True,
    ),
    # The host.
    "disk-nearly-full": Kind(
        "its disk is nearly full",
        "When the disk with the log is full, the server stops.",
        "disk-full.html",
    ),
    "archive-failing": Kind(
        "archives nothing",
        "archive_command or archive_library fails. The server keeps every file of its log until it succeeds, and a"
        " restore from backups lacks them.",
        "continuous-archiving.html#BACKUP-ARCHIVING-WAL",
        causes=("disk-nearly-full",),
    ),
    "clock-skew": Kind(
        "its clock is off",
        "The clocks of the servers, or ours, do not agree. Lag that is told by timestamps is wrong by as much, and so"
        " are tokens, certificates and logs. pgfleet itself routes by positions and its own clock.",
        "functions-datetime.html#FUNCTIONS-DATETIME-CURRENT",
    ),
    # Slots.
    "slot-inactive": Kind(
        "a slot that nobody uses keeps the log",
        "The primary keeps all log since the slot was last used, for as long as it exists, on the disk that it writes"
        " to.",
        "warm-standby.html#STREAMING-REPLICATION-SLOTS",
        causes=(*_NOT_STREAMING, "no-walsender"),
    ),
    "slot-unreserved": Kind(
        "a slot is about to lose its log",
        "The slot keeps more than max_slot_wal_keep_size allows: the next checkpoint removes what its replica needs.",
        "runtime-config-replication.html#GUC-MAX-SLOT-WAL-KEEP-SIZE",
        causes=(*_NOT_STREAMING, *_REPLAY, "slot-inactive"),
    ),
    "slot-retains-wal": Kind(
        "a slot keeps much of the log",
        "Its replica streams, and is far behind: the primary keeps the log until it has it.",
        "view-pg-replication-slots.html",
        causes=(*_NOT_STREAMING, *_REPLAY, "replica-lags"),
    ),
    "slot-unbounded": Kind(
        "nothing bounds what slots keep",
        "max_slot_wal_keep_size is -1: the slot of a replica that never comes back fills the primary's disk.",
        "runtime-config-replication.html#GUC-MAX-SLOT-WAL-KEEP-SIZE",
    ),
    "slots-exhausted": Kind(
        "has no slot left",
        "All of max_replication_slots are taken: the next replica gets none.",
        "runtime-config-replication.html#GUC-MAX-REPLICATION-SLOTS",
    ),
    # Connections.
    "connections-nearly-full": Kind(
        "few connections are left",
        "The server has given out most of the connections that ordinary roles may have.",
        "runtime-config-connection.html#GUC-MAX-CONNECTIONS",
    ),
    "pools-exceed-server": Kind(
        "the pools may take more than there is",
        "Full pools of all processes need more connections than the server gives to ordinary roles; under load some"
        " get none.",
        "runtime-config-connection.html#GUC-MAX-CONNECTIONS",
    ),
    # What clients do.
    "idle-in-transaction": Kind(
        "a transaction stands open and does nothing",
        "It keeps dead rows from being removed and its locks from everybody else; on a replica it cancels, or holds up"
        " replay.",
        "runtime-config-client.html#GUC-IDLE-IN-TRANSACTION-SESSION-TIMEOUT",
    ),
    "prepared-transaction": Kind(
        "a prepared transaction waits for its end",
        "PREPARE TRANSACTION was called, and neither COMMIT PREPARED nor ROLLBACK PREPARED. It keeps its locks and"
        " dead rows, over restarts too.",
        "sql-prepare-transaction.html",
    ),
    "xmin-held": Kind(
        "dead rows are kept",
        "Something holds a snapshot that is many transactions old, so VACUUM removes nothing that died since: tables"
        " grow.",
        "routine-vacuuming.html",
        causes=("idle-in-transaction", "prepared-transaction"),
    ),
    "query-conflicts": Kind(
        "replay has cancelled statements",
        "Statements on the replica were cancelled because replay could not wait for them any longer. pgfleet sends"
        " such a read to another node once.",
        "hot-standby.html#HOT-STANDBY-CONFLICT",
        causes=("replay-waits",),
    ),
    "long-statement": Kind(
        "a statement runs for long",
        "On a replica it either holds up replay, or is cancelled by it; with hot_standby_feedback it keeps dead rows"
        " on the primary instead.",
        "hot-standby.html#HOT-STANDBY-CONFLICT",
        causes=("replay-waits",),
    ),
    # Settings.
    "read-only-default": Kind(
        "transactions are read-only by default",
        "default_transaction_read_only is on for this role on the primary: writes fail with 25006.",
        "runtime-config-client.html#GUC-DEFAULT-TRANSACTION-READ-ONLY",
    ),
    "cascading": Kind(
        "follows another replica",
        "It is as late as the replica it follows, and later. pgfleet measures it against the primary all the same.",
        "warm-standby.html#CASCADING-REPLICATION",
    ),
    "upstream-unknown": Kind(
        "follows a server that is not in the settings",
        "Its walreceiver is at work, and no node of this fleet sends to it.",
        "warm-standby.html#CASCADING-REPLICATION",
    ),
    "replay-wait-unbounded": Kind(
        "a statement may hold up replay for ever",
        "max_standby_streaming_delay is -1: replay waits for every statement, however long it runs.",
        "runtime-config-replication.html#GUC-MAX-STANDBY-STREAMING-DELAY",
        causes=("replay-waits",),
    ),
    "no-slot": Kind(
        "follows without a slot",
        "While it is away, the primary removes log as if it did not exist; away for too long, it must be copied anew.",
        "warm-standby.html#STREAMING-REPLICATION-SLOTS",
        causes=("wal-removed",),
    ),
    "cannot-rewind": Kind(
        "cannot be rewound after a failover",
        "Neither data checksums nor wal_log_hints are on, so pg_rewind cannot turn an old primary into a standby: it"
        " must be copied anew.",
        "app-pgrewind.html",
    ),
    "pending-restart": Kind(
        "settings wait for a restart",
        "They were changed, and only a restart makes them so.",
        "view-pg-settings.html",
    ),
    "unlogged-tables": Kind(
        "has tables that replicas cannot read",
        "Unlogged tables are not replicated: a read of them on a replica fails.",
        "sql-createtable.html#SQL-CREATETABLE-UNLOGGED",
    ),
    # What could not be judged.
    "discovery-silent": Kind(
        "discovery tells nothing",
        "The replicas that it would tell of were not looked at.",
        "high-availability.html",
    ),
    "shared-endpoint": Kind(
        "leads to several servers",
        "What is told of it is told of the one server that answered this time.",
        "libpq-connect.html#LIBPQ-MULTIPLE-HOSTS",
    ),
    "aurora": Kind(
        "is Amazon Aurora",
        "It replicates by its storage: positions, slots and receivers mean nothing there, and were not judged.",
        "high-availability.html",
    ),
    "privileges-missing": Kind(
        "this role does not see everything",
        "Without pg_monitor the server hides states, sessions, receivers and some settings: what is wrong there is not"
        " found.",
        "predefined-roles.html",
    ),
    "not-seen": Kind(
        "did not answer everything",
        "What was asked and not answered could not be judged.",
        "monitoring-stats.html",
        causes=UNREACHABLE,
    ),
    "replicas-disabled": Kind(
        "replicas are configured, and not used",
        "USE_READ_REPLICAS is not true, so every read goes to the primary.",
        "high-availability.html",
    ),
    "fsync-off": Kind(
        "a crash may destroy its data",
        "With fsync=off or full_page_writes=off a crash of the machine can corrupt the data beyond repair.",
        "runtime-config-wal.html#GUC-FSYNC",
    ),
})  # fmt: skip
