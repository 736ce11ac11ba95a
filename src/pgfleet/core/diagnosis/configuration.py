"""Settings that will cost somebody something, though all is well now."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet, Node
from pgfleet.core.diagnosis.thresholds import MB
from pgfleet.core.words import counted, identifier, literal, size


def read_only_default(fleet: Fleet) -> Iterator[Finding]:
    """A primary whose sessions begin read-only."""
    node = fleet.primary
    found = node.facts.settings.get("default_transaction_read_only") if node else None
    if node and found and found.reset_val == "on":
        role = identifier(node.facts.server.role)
        yield Finding(
            "read-only-default",
            Severity.CRITICAL,
            node.name,
            f"a session of {node.facts.server.role} begins with default_transaction_read_only=on",
            (
                Step(
                    f"alter role {role} reset default_transaction_read_only;",
                    node.name,
                    "if it was set for the role",
                ),
                Step(
                    f"alter database {identifier(node.facts.server.database)} reset default_transaction_read_only;",
                    node.name,
                    "if for the database",
                ),
                Step("alter system reset default_transaction_read_only;", node.name, "if for the server"),
                Step("select pg_reload_conf();", node.name),
            ),
        )


def not_durable(fleet: Fleet) -> Iterator[Finding]:
    """Servers that a crash of their machine may destroy. On this very host that is a choice, mostly."""
    for node in fleet.nodes:
        off = [name for name in ("fsync", "full_page_writes") if node.facts.text(name) == "off"]
        if off:
            yield Finding(
                "fsync-off",
                Severity.NOTICE if node.facts.server.on_this_host else Severity.CRITICAL,
                node.name,
                ", ".join(f"{name}=off" for name in off)
                + (" on this host, as for development" if node.facts.server.on_this_host else ""),
                (
                    *(Step(f"alter system set {name} = on;", node.name) for name in off),
                    Step("select pg_reload_conf();", node.name),
                ),
            )


def without_slot(fleet: Fleet) -> Iterator[Finding]:
    """Standbys that nothing keeps log for."""
    primary = fleet.primary
    for node in fleet.standbys:
        origin, receiver = node.facts.origin, node.receiver
        known = origin is not None or (receiver is not None and receiver.status is not None)
        if primary is None or not known or node.slot:
            continue
        name = node.name.lower().replace("-", "_")
        yield Finding(
            "no-slot",
            Severity.NOTICE,
            node.name,
            f"primary_slot_name is empty; {primary.name} keeps {_kept(primary)}",
            (
                Step(f"select pg_create_physical_replication_slot({literal(name)}, true);", primary.name),
                Step(f"alter system set primary_slot_name = {literal(name)};", node.name),
                Step("select pg_reload_conf(); -- before PostgreSQL 13: restart", node.name),
            ),
        )


def not_rewindable(fleet: Fleet) -> Iterator[Finding]:
    """A primary that pg_rewind could not turn into a standby."""
    node = fleet.primary
    if node and (node.facts.text("data_checksums"), node.facts.text("wal_log_hints")) == ("off", "off"):
        yield Finding(
            "cannot-rewind",
            Severity.NOTICE,
            node.name,
            "data_checksums=off, wal_log_hints=off",
            (Step("alter system set wal_log_hints = on; -- then restart", node.name),),
        )


def pending_restarts(fleet: Fleet) -> Iterator[Finding]:
    """Settings that are changed and not yet so."""
    for node in fleet.nodes:
        names = sorted(name for name, found in node.facts.settings.items() if found.pending_restart)
        if names:
            yield Finding(
                "pending-restart",
                Severity.NOTICE,
                node.name,
                ", ".join(names),
                (Step("systemctl restart postgresql", node.name),),
            )


def unlogged_tables(fleet: Fleet) -> Iterator[Finding]:
    """Tables that a read on a replica cannot see."""
    node = fleet.primary
    count = node.facts.use.unlogged_tables if node and node.facts.use else 0
    if node and count and len(fleet.snapshot.nodes) > 1:
        yield Finding(
            "unlogged-tables",
            Severity.NOTICE,
            node.name,
            f"{counted(count, 'unlogged table')} in database {node.facts.server.database}",
            (
                Step(
                    "select oid::regclass from pg_class where relpersistence = 'u' and relkind = 'r';",
                    node.name,
                ),
                Step("alter table <table> set logged;", node.name, "for those that are read on replicas"),
            ),
            figures={"tables": count},
        )


def _kept(primary: Node) -> str:
    """What the primary keeps without a slot. PostgreSQL 12 counts it in files."""
    number = primary.facts.number
    files_bytes = (number("wal_keep_segments") or 0) * (number("wal_segment_size") or 0)
    kept_bytes = (number("wal_keep_size") or 0) * MB or files_bytes
    return f"{size(kept_bytes)} of log for all" if kept_bytes else "no log for it"
