"""The one question that every probe and every new connection asks a server, and how its row is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgfleet.core.lsn import Lsn, parse_lsn
from pgfleet.core.node import Observation, Role

OBSERVE_SQL = """
select r.in_recovery,
       case when r.is_aurora then '0'
            else (select system_identifier from pg_catalog.pg_control_system())::text end,
       (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint::text,
       pg_catalog.current_setting('server_version_num')::int,
       case when r.is_standby
            then greatest((select received_tli from pg_catalog.pg_stat_wal_receiver limit 1),
                          (select timeline_id from pg_catalog.pg_control_checkpoint()),
                          (select min_recovery_end_timeline from pg_catalog.pg_control_recovery()))
       end,
       case when r.is_primary
            then pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) end,
       case when r.is_primary then pg_catalog.pg_current_wal_insert_lsn()::text end,
       case when r.is_primary then pg_catalog.pg_current_wal_flush_lsn()::text end,
       case when not r.is_aurora then pg_catalog.pg_last_wal_replay_lsn()::text end,
       case when r.is_standby then pg_catalog.pg_last_wal_receive_lsn()::text end,
       case when r.is_standby then pg_catalog.pg_is_wal_replay_paused() else false end,
       extract(epoch from pg_catalog.current_setting('wal_writer_delay')::interval)::float8,
       pg_catalog.current_setting('wal_block_size')::bigint,
       pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')),
       case when r.is_aurora then '0:0:' else pg_catalog.txid_current_snapshot()::text end,
       case when not r.is_aurora
            then (select checkpoint_lsn from pg_catalog.pg_control_checkpoint())::text end,
       case when r.is_primary
            then array(select distinct application_name from pg_catalog.pg_stat_replication) end,
       r.is_aurora
  from (select s.in_recovery, s.is_aurora, s.in_recovery and not s.is_aurora as is_standby,
               not s.in_recovery and not s.is_aurora as is_primary
          from (select pg_catalog.pg_is_in_recovery() as in_recovery,
                       pg_catalog.to_regproc('aurora_version') is not null as is_aurora
                offset 0) s
        offset 0) r
"""
"""Works for a role without privileges; `pg_monitor` adds the walreceiver's timeline. PostgreSQL 12 to 18.

The timeline of a replica is the highest that a source tells. Each source may be late and none is ever early. That of a
primary is taken from the name of its present WAL file, because its control file is late. What it replayed last, before
it was promoted, is where its timeline begins.

The snapshot is the statement's own, older than the positions that the same statement reads. The last checkpoint stands
beside it because a crash may give the numbers of lost transactions to new ones; recovery ends with a checkpoint.

Aurora is known by a function that it alone has. It replicates by its storage: none of its positions is asked for, since
they mean nothing there or raise.
"""

AURORA_LAG_SQL = """
select pg_catalog.max(s.replica_lag_in_msec / 1000.0
                      + greatest(0, extract(epoch from pg_catalog.now() - s.last_update_timestamp)))::float8
  from aurora_replica_status() s
 where s.server_id = aurora_db_instance_identifier()
"""
"""How late this reader of Aurora is, in seconds, by its own account and the age of that. Written from its manual."""


def read_observation(row: Sequence[Any], asked_s: float, answered_s: float) -> Observation:
    """Turn the row of `OBSERVE_SQL` into an `Observation`."""
    (in_recovery, system_id, incarnation, version, replica_timeline, wal_file_timeline, insert, flush, replay, receive,
     paused, wal_writer_delay_s, block_bytes, segment_bytes, snapshot, checkpoint, standbys,
     is_aurora) = row  # fmt: skip
    xmin, xmax, _ = snapshot.split(":")
    return Observation(
        asked_s=asked_s,
        answered_s=answered_s,
        role=Role.REPLICA if in_recovery else Role.PRIMARY,
        system_id=int(system_id),
        incarnation=incarnation,
        server_version=version,
        timeline=replica_timeline if wal_file_timeline is None else int(wal_file_timeline, 16),
        insert_lsn=_lsn(insert),
        flush_lsn=_lsn(flush),
        replay_lsn=_lsn(replay) if in_recovery else None,
        fork_lsn=None if in_recovery else _lsn(replay),
        receive_lsn=_lsn(receive),
        replay_paused=bool(paused),
        wal_writer_delay_s=wal_writer_delay_s,
        wal_block_bytes=block_bytes,
        wal_segment_bytes=segment_bytes,
        xmin=int(xmin),
        xmax=int(xmax),
        finished=f"{snapshot}@{checkpoint}",
        standbys=frozenset(standbys or ()),
        is_aurora=is_aurora,
    )


def _lsn(text: str | None) -> Lsn | None:
    return None if text is None else parse_lsn(text)
