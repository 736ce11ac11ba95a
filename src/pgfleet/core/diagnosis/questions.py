"""What a server is asked, for each version of PostgreSQL from 12 on: one table of columns.

No question needs a privilege: what a role may not see is NULL, or the question is not asked (`Question.needs`). No
statement of a client and no password is among the columns: `primary_conninfo` is taken apart on the server.
"""

from __future__ import annotations

from pgfleet.core.diagnosis.question import Column, Question, ago, position

SESSION_SQL = (
    "set default_transaction_read_only = on; set search_path = pg_catalog; "
    "set application_name = 'pgfleet doctor'; set jit = off"
)
"""Each statement of ours is a read-only transaction, and means PostgreSQL's own functions."""


_PRIMARY = "not pg_is_in_recovery()"
_STANDBY = "pg_is_in_recovery()"

SERVER = Question(
    "the server itself",
    (
        Column("version", "current_setting('server_version_num')::int"),
        Column("in_recovery", "r.in_recovery"),
        Column("is_aurora", "r.is_aurora"),
        Column(
            "system_id",
            "case when not r.is_aurora then (select system_identifier from pg_control_system())::text end",
        ),
        Column("started_us", "(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint"),
        Column(
            "timeline",
            "case when r.is_aurora then null when r.in_recovery then greatest("
            "(select received_tli from pg_stat_wal_receiver limit 1), "
            "(select timeline_id from pg_control_checkpoint()), "
            "(select min_recovery_end_timeline from pg_control_recovery())) "
            "else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int end",
        ),
        Column("role", "current_user"),
        Column("database", "current_database()"),
        Column("reads_stats", "pg_has_role('pg_read_all_stats', 'usage')"),
        Column("reads_settings", "pg_has_role('pg_read_all_settings', 'usage')"),
        Column("lists_wal", "has_function_privilege('pg_ls_waldir()', 'execute')"),
        Column("on_this_host", "inet_server_addr() is not distinct from inet_client_addr()"),
        Column(
            "database_limit",
            "(select nullif(datconnlimit, -1) from pg_database where datname = current_database())",
        ),
        Column("role_limit", "(select nullif(rolconnlimit, -1) from pg_roles where rolname = current_user)"),
    ),
    "from (select pg_is_in_recovery() as in_recovery, "
    "exists (select from pg_proc where proname = 'aurora_version') as is_aurora offset 0) r",
)
"""Needs no version, since it tells it. Aurora is asked for no position: they mean nothing there, or raise."""

SETTING_NAMES = (
    "archive_mode", "cluster_name", "data_checksums", "data_directory", "default_transaction_read_only",
    "fsync", "full_page_writes", "hot_standby_feedback", "max_connections", "max_locks_per_transaction",
    "max_prepared_transactions", "max_replication_slots", "max_slot_wal_keep_size", "max_standby_streaming_delay",
    "max_wal_senders", "max_worker_processes", "recovery_min_apply_delay", "reserved_connections",
    "superuser_reserved_connections", "synchronous_standby_names", "wal_keep_segments",
    "wal_block_size", "wal_keep_size", "wal_level", "wal_log_hints", "wal_segment_size",
)  # fmt: skip

SETTINGS = Question(
    "its settings",
    tuple(Column(name) for name in ("name", "setting", "reset_val", "pending_restart")),
    f"from pg_settings where pending_restart or name in ({', '.join(map(repr, SETTING_NAMES))})",
)

POSITIONS = Question(
    "its positions in the log",
    (
        Column("clock_s", "extract(epoch from clock_timestamp())::float8"),
        position("inserted", "pg_current_wal_insert_lsn()", _PRIMARY),
        position("flushed", "pg_current_wal_flush_lsn()", _PRIMARY),
        position("received", "pg_last_wal_receive_lsn()", _STANDBY),
        position("replayed", "pg_last_wal_replay_lsn()", _STANDBY),
        Column(
            "pause_state",
            f"case when {_STANDBY} then pg_get_wal_replay_pause_state() end",
            since=14,
            before=f"case when {_STANDBY} then "
            "case when pg_is_wal_replay_paused() then 'paused' else 'not paused' end end",
        ),
        Column("last_replayed_s", "extract(epoch from pg_last_xact_replay_timestamp())::float8"),
    ),
    "",
)

SENDERS = Question(
    "who streams from it",
    (
        Column("pid", "r.pid"),
        Column("role", "r.usename"),
        Column("application_name", "r.application_name"),
        Column("client_address", "host(r.client_addr)"),
        Column("state", "r.state"),
        position("sent", "r.sent_lsn"),
        position("written", "r.write_lsn"),
        position("flushed", "r.flush_lsn"),
        position("replayed", "r.replay_lsn"),
        Column("replay_lag_s", "extract(epoch from r.replay_lag)::float8"),
        Column("sync_state", "r.sync_state"),
        Column("xmin_age", "age(r.backend_xmin)"),
        Column("slot", "s.slot_name"),
    ),
    "from pg_stat_replication r left join pg_replication_slots s on s.active_pid = r.pid order by r.pid",
)

SLOTS = Question(
    "its replication slots",
    (
        Column("name", "slot_name"),
        Column("kind", "slot_type"),
        Column("active"),
        Column("active_pid"),
        position("restart", "restart_lsn"),
        Column("xmin_age", "greatest(age(xmin), age(catalog_xmin))"),
        Column("wal_status", since=13),
        ago("inactive_s", "inactive_since", since=17),
        Column("reason", "invalidation_reason", since=17),
        Column("synced", since=17),
    ),
    "from pg_replication_slots where not temporary order by slot_name",
)

RECEIVER = Question(
    "what it receives",
    (
        Column("pid"),
        Column("status"),
        Column("received_timeline", "received_tli"),
        Column("slot", "nullif(slot_name, '')"),
        Column("sender_host"),
        Column("sender_port"),
        Column("application_name", r"substring(conninfo from 'application_name=''?([^ '']+)')"),
    ),
    "from pg_stat_wal_receiver",
)


def _word(name: str, keyword: str) -> Column:
    """One word of `primary_conninfo`."""
    return Column(
        name, f"substring(current_setting('primary_conninfo') from '(?:^|\\s){keyword}\\s*=\\s*''?([^ '']+)')"
    )


ORIGIN = Question(
    "where it looks for its primary",
    (
        _word("host", "host"),
        Column("port", f"({_word('', 'port').sql})::int"),
        _word("application_name", "application_name"),
        Column("slot", "nullif(current_setting('primary_slot_name'), '')"),
    ),
    "",
    needs="reads_settings",
)

USE = Question(
    "how it is used",
    (
        Column("connections", "(select sum(numbackends)::int from pg_stat_database)"),
        Column("role_connections", "(select count(*) from pg_stat_activity where usename = current_user)"),
        Column(
            "database_connections",
            "(select numbackends from pg_stat_database where datname = current_database())",
        ),
        Column(
            "waiting_for_sync",
            "case when pg_has_role('pg_read_all_stats', 'usage') then "
            "(select count(*) from pg_stat_activity where wait_event = 'SyncRep') end",
        ),
        Column(
            "replay_waits_for",
            "(select min(wait_event) from pg_stat_activity where backend_type = 'startup')",
        ),
        Column(
            "unlogged_tables", "(select count(*) from pg_class where relpersistence = 'u' and relkind = 'r')"
        ),
    ),
    "",
)

SESSIONS = Question(
    "its sessions",
    (
        Column("pid"),
        Column("role", "usename"),
        Column("application_name"),
        Column("state"),
        ago("transaction_s", "xact_start"),
        ago("statement_s", "query_start"),
        ago("state_s", "state_change"),
        Column("xmin_age", "age(backend_xmin)"),
    ),
    "from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() "
    "and xact_start is not null order by xact_start limit 20",
    needs="reads_stats",
)

PREPARED = Question(
    "its prepared transactions",
    (Column("gid"), ago("age_s", "prepared"), Column("xmin_age", "age(transaction)")),
    "from pg_prepared_xacts order by prepared limit 5",
)

CONFLICTS = Question(
    "conflicts with replay",
    (
        Column(
            "conflicts",
            "sum(confl_tablespace + confl_lock + confl_snapshot + confl_bufferpin + confl_deadlock)::bigint",
        ),
    ),
    "from pg_stat_database_conflicts",
)

ARCHIVER = Question(
    "its archiving",
    (
        Column("failed", "failed_count"),
        Column("last_failed_file", "last_failed_wal"),
        ago("failed_s", "last_failed_time"),
        ago("archived_s", "last_archived_time"),
    ),
    "from pg_stat_archiver",
)

WAL = Question(
    "the size of its log",
    (
        Column("total_bytes", "coalesce(sum(size), 0)::bigint"),
        Column("oldest_file", "min(name) filter (where name ~ '^[0-9A-F]{24}$')"),
    ),
    "from pg_ls_waldir()",
    needs="lists_wal",
)

SAMPLED = (POSITIONS, SENDERS, RECEIVER, CONFLICTS)
"""Asked twice."""
ONCE = (SETTINGS, SLOTS, ORIGIN, USE, SESSIONS, PREPARED, ARCHIVER, WAL)
"""Asked once, after `SERVER`."""
