"""The text of the files that configure a server. None of them holds a password."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pgfleet.errors import LocalFleetError
from pgfleet.local.layout import Layout
from pgfleet.local.state import FleetState, NodeState, Setting

SUPERUSER = "pgfleet"
PLAIN_USER = "app"
DATABASE = "postgres"
"""The one that initdb makes: another would be 300 more files to create on every node."""

DEFAULTS: Mapping[str, Setting] = {
    "fsync": False,  # a crash of the machine may cost the data; a crash of a server does not
    "synchronous_commit": True,  # with it off, replicas hear of a commit up to 0.4 s late
    "max_connections": 200,
    "max_wal_senders": 40,
    "max_replication_slots": 40,
    "shared_buffers": "32MB",
    "max_slot_wal_keep_size": "2GB",  # a replica that never comes back must not fill the disk
    "wal_retrieve_retry_interval": "200ms",
    "wal_receiver_status_interval": "1s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a ",
}

OURS = frozenset(
    {
        "cluster_name",
        "config_file",
        "data_directory",
        "dynamic_shared_memory_type",
        "hba_file",
        "hot_standby",
        "listen_addresses",
        "log_destination",
        "logging_collector",
        "port",
        "primary_conninfo",
        "primary_slot_name",
        "recovery_min_apply_delay",
        "unix_socket_directories",
    }
)
"""Settings that the fleet itself gives each node."""


def check_settings(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """A copy of the caller's settings. Raises LocalFleetError for one that the fleet has to keep in its own hands."""
    if taken := sorted(OURS.intersection(name.lower() for name in settings)):
        raise LocalFleetError(f"the fleet sets {', '.join(taken)} itself", "leave it out of settings")
    return dict(settings)


def slot_name(name: str) -> str:
    """The replication slot of a node: `replica_1` for `replica-1`."""
    return name.replace("-", "_")


def cluster_name(layout: Layout, name: str) -> str:
    """What a server's processes call themselves in the process list."""
    return f"{name}@{layout.identity}"


def server_conf(layout: Layout, state: FleetState, node: NodeState) -> str:
    """`postgresql.conf` of one node, whatever role it has now: a primary ignores what is meant for a standby."""
    given: dict[str, Setting] = {**DEFAULTS, **state.settings}
    own: dict[str, Setting] = {
        "cluster_name": cluster_name(layout, node.name),
        "hba_file": str(layout.hba),
        "listen_addresses": "127.0.0.1",
        "port": node.port,
        "unix_socket_directories": "",
        "dynamic_shared_memory_type": "mmap",  # below the data directory, where a killed server leaves nothing behind
        "hot_standby": True,
        "primary_conninfo": conninfo(layout, state.node(node.upstream).port, node.name),
        "primary_slot_name": slot_name(node.name),
        "recovery_min_apply_delay": f"{round(node.apply_delay_s * 1000)}ms",
    }
    return "".join(f"{name} = {_quoted(value)}\n" for name, value in (given | own).items())


def hba_conf() -> str:
    """`pg_hba.conf`: everybody with a password, over the loopback interface only."""
    return "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"


def pgpass(password: str) -> str:
    """libpq's password file, for the superuser on any port."""
    return f"127.0.0.1:*:*:{SUPERUSER}:{password}\n"


def conninfo(layout: Layout, port: int, application_name: str) -> str:
    """How a standby, pg_rewind or pg_basebackup reaches the server on a port, as the superuser."""
    words = {
        "host": "127.0.0.1",
        "port": port,
        "user": SUPERUSER,
        "dbname": DATABASE,
        "application_name": application_name,
        "passfile": _escaped(layout.passfile),
        "sslmode": "disable",
        "gssencmode": "disable",
    }
    return " ".join(f"{word}={value}" for word, value in words.items())


def _escaped(path: Path) -> str:
    escaped = str(path).replace("\\", r"\\").replace("'", r"\'")
    return f"'{escaped}'"


def _quoted(value: Setting) -> str:
    text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
    return "'" + text.replace("\\", r"\\").replace("'", "''") + "'"
