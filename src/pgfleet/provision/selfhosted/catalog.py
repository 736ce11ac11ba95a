"""What the primary is asked by SQL, as the superuser on its own host."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from pgfleet.errors import ProvisionError
from pgfleet.provision.selfhosted.host import Host
from pgfleet.provision.selfhosted.places import Site
from pgfleet.provision.selfhosted.shell import Result

FIND_PSQL = """
for found in "$(command -v psql)" /usr/lib/postgresql/*/bin/psql /usr/pgsql-*/bin/psql /usr/local/pgsql/bin/psql; do
    if [ -x "$found" ]; then echo "$found"; exit; fi
done
"""

ASK_ROLE = """
select json_build_object(
    'version', current_setting('server_version_num')::int,
    'standby', pg_is_in_recovery(),
    'superuser', (select rolsuper from pg_roles where rolname = current_user))
"""

ASK_ALL = """
select json_build_object(
    'system_id', (select system_identifier::text from pg_control_system()),
    'bin_directory', (select setting from pg_config where name = 'BINDIR'),
    'size_bytes', (select sum(pg_database_size(oid)) from pg_database),
    'hba', pg_read_file(current_setting('hba_file')),
    'settings', (select json_object_agg(name, setting) from pg_settings where name in (
        'config_file', 'data_directory', 'hba_file', 'listen_addresses', 'max_connections',
        'max_locks_per_transaction', 'max_prepared_transactions', 'max_replication_slots',
        'max_slot_wal_keep_size', 'max_wal_senders', 'max_worker_processes', 'port', 'ssl', 'wal_keep_size',
        'wal_level')),
    'sources', (select json_object_agg(name, source) from pg_settings where source = 'command line'),
    'roles', (select coalesce(json_agg(json_build_object(
        'name', rolname, 'login', rolcanlogin, 'replication', rolreplication, 'verifier', rolpassword,
        'comment', shobj_description(oid, 'pg_authid'))), '[]') from pg_authid where rolname !~ '^pg_'),
    'slots', (select coalesce(json_agg(to_json(s)), '[]') from pg_replication_slots s),
    'senders', (select coalesce(json_agg(json_build_object('name', application_name, 'user', usename,
        'state', state, 'lsn', replay_lsn::text)), '[]') from pg_stat_replication),
    'tablespaces', (select coalesce(json_agg(pg_tablespace_location(oid)), '[]') from pg_tablespace
        where spcname not in ('pg_default', 'pg_global')))
"""

NO_PSQL = "name PostgreSQL's bin directory there: bin_directory"
_NOT_STARTED = (126, 127)
"""What `env` exits with when there is no such program; runuser and sudo have only words."""
_HINTS = (
    ("failed to execute", NO_PSQL),
    ("command not found", NO_PSQL),
    ("Peer authentication failed", "name the superuser, and who on the system may be it: database_user, os_user"),
    ("password authentication failed", "write the right password into the file that passfile names"),
    ("no password supplied", "write passfile: a file on the primary's host with the superuser's password"),
    ("does not exist", "name the superuser of this server: database_user"),
    ("No such file or directory", "start the primary, or write its port and socket_directory"),
    ("onnection refused", "start the primary, or write its port and socket_directory"),
    ("permission denied", "name a superuser: database_user"),
    ("must be superuser", "name a superuser: database_user"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Catalog:
    """The primary's SQL."""

    host: Host
    psql: str
    site: Site

    @classmethod
    async def open(cls, host: Host, site: Site) -> Catalog:
        """With the psql that is there. Raises ProvisionError when there is none."""
        named = site.primary.bin_directory
        psql = f"{named}/psql" if named else (await host.script(FIND_PSQL)).strip()
        if not psql:
            raise ProvisionError(f"{site.primary}: there is no psql", NO_PSQL)
        return cls(host, psql, site)

    async def run(self, sql: str, **variables: str) -> str:
        """Run statements, each on its own; what they print. Raises ProvisionError with the server's words.

        `:'name'` and `:"name"` in them stand for the variables: psql quotes these.
        """
        script = "".join(_set(name, value) for name, value in variables.items()) + sql
        result = await self.host.try_owner(*self.argv(), stdin=script)
        return self.host.checked("psql", result, _hint(result)).strip()

    async def ask(self, sql: str, **variables: str) -> Any:
        """The JSON that a query gives."""
        return json.loads(await self.run(sql, **variables))

    def argv(self) -> tuple[str, ...]:
        """The command, with nothing secret on it."""
        site = self.site
        passfile = ("env", f"PGPASSFILE={site.passfile}") if site.passfile else ()
        where = ("-h", site.socket_directory) if site.socket_directory else ()
        user = site.database_user or site.primary.os_user
        return (
            *passfile, self.psql, "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", *where,
            "-p", str(site.primary.port), "-U", user, "-d", "postgres",
        )  # fmt: skip


def _hint(result: Result) -> str:
    if result.code in _NOT_STARTED:
        return NO_PSQL
    return next((hint for words, hint in _HINTS if words in result.err), "see the server's log")


def _set(name: str, value: str) -> str:
    """psql's own command, and its way to quote."""
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")
    return f"\\set {name} '{escaped}'\n"


def shown_psql(site: Site) -> str:
    """The command as a person types it before `-c`."""
    where = f" -h {site.socket_directory}" if site.socket_directory else ""
    port = f" -p {site.primary.port}" if site.primary.port != 5432 else ""
    user = site.database_user or site.primary.os_user
    as_user = f" -U {user}" if user != site.primary.os_user else ""
    return f"sudo -u {shlex.quote(site.primary.os_user)} psql{where}{port}{as_user} -d postgres"
