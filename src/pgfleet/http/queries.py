"""What the servers are asked beyond the probe. Each statement gives one JSON object, so every driver reads it alike."""

from __future__ import annotations

APPLICATION_NAME = "pgfleet serve"
"""Sessions of the monitoring service itself, which it does not count."""

_PRIVILEGE = "case when pg_has_role('pg_read_all_stats', 'usage') then 'full' else 'limited' end"

CONNECTIONS_SQL = f"""
select json_build_object(
         'privilege', {_PRIVILEGE},
         'active', count(*) filter (where state is distinct from 'idle'),
         'idle', count(*) filter (where state = 'idle'),
         'max_connections', current_setting('max_connections')::int)::text
  from pg_catalog.pg_stat_activity
 where backend_type = 'client backend'
   and application_name <> '{APPLICATION_NAME}'
"""  # noqa: S608 (constants of this file)
"""Client backends. One that is idle in a transaction counts as active: nobody else can use it.

Without `pg_read_all_stats` the sessions of other roles have no `backend_type`, and are not counted.
"""

REPLICATION_SQL = f"""
select json_build_object(
         'privilege', {_PRIVILEGE},
         'standbys', coalesce((select json_agg(standby) from (
             select application_name,
                    host(client_addr) as client_addr,
                    state,
                    sent_lsn::text,
                    write_lsn::text,
                    flush_lsn::text,
                    replay_lsn::text,
                    sync_state,
                    extract(epoch from now() - backend_start)::int as connection_age_seconds
               from pg_catalog.pg_stat_replication
              order by application_name, pid) as standby), '[]'),
         'slots', coalesce((select json_agg(slot) from (
             select s.slot_name,
                    s.slot_type,
                    s.active,
                    s.restart_lsn::text,
                    to_jsonb(s) ->> 'wal_status' as wal_status,
                    pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint as retained_bytes
               from pg_catalog.pg_replication_slots as s
              order by s.slot_name) as slot), '[]'))::text
"""  # noqa: S608 (constants of this file)
"""For a primary. PostgreSQL 12 has no `wal_status`: there it is null."""
