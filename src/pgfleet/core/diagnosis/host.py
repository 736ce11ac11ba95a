"""Disk, archive, clock, and commits that wait for a standby."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet, Node
from pgfleet.core.diagnosis.rows import Archiver
from pgfleet.core.words import counted, percent, shell, size, span

_QUORUM = re.compile(r"\s*(?:(?:first|any)\s+)?(\d+)\s*\(", re.IGNORECASE)


def disks(fleet: Fleet) -> Iterator[Finding]:
    """Disks that are nearly full, where they can be seen."""
    for node in fleet.nodes:
        disk = node.facts.disk
        if disk is None or disk.used_share < fleet.thresholds.disk_warning_share:
            continue
        wal = f"; the log takes {size(node.facts.wal.total_bytes)}" if node.facts.wal else ""
        yield Finding(
            "disk-nearly-full",
            Severity.CRITICAL
            if disk.used_share >= fleet.thresholds.disk_critical_share
            else Severity.WARNING,
            node.name,
            f"{disk.directory}: {percent(disk.used_share)} used, {size(disk.free_bytes)} free{wal}",
            (
                Step(f"du -xh -d 1 {shell(disk.directory)} | sort -h", node.name, "what takes it?"),
                Step(
                    "select slot_name, active, pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))"
                    " from pg_replication_slots;",
                    node.name,
                    "is it log that a slot keeps?",
                ),
            ),
            figures={"usedShare": round(disk.used_share, 3), "freeBytes": disk.free_bytes},
        )


def archiving(fleet: Fleet) -> Iterator[Finding]:
    """Servers whose last attempt to archive failed."""
    for node in fleet.nodes:
        found = node.facts.archiver
        if found is None or node.facts.text("archive_mode") in (None, "off") or not _fails(found):
            continue
        since = (
            f"the last success was {span(found.archived_s)} ago"
            if found.archived_s is not None
            else "none succeeded"
        )
        yield Finding(
            "archive-failing",
            Severity.CRITICAL,
            node.name,
            f"{counted(found.failed, 'failure')}, the last {span(found.failed_s or 0)} ago,"
            f" of {found.last_failed_file}; {since}",
            (
                Step(
                    "journalctl -u 'postgresql*' -n 50 | grep archive",
                    node.name,
                    "its log has the command's words",
                ),
                Step("show archive_command;", node.name, "does it work, as the user postgres?"),
            ),
            figures={"failed": found.failed, "lastFailedFile": found.last_failed_file},
        )


def clocks(fleet: Fleet) -> Iterator[Finding]:
    """Clocks that differ from ours; where most do, it is ours."""
    off = [node for node in fleet.nodes if _skew_s(node) > fleet.thresholds.clock_s]
    ours = len(off) > 1 and len(off) == len(fleet.nodes) and _agree(fleet, off)
    for node in off[:1] if ours else off:
        offset_s, error_s = node.facts.first.clock_offset_s, node.facts.first.clock_error_s
        word = "ahead of" if offset_s > 0 else "behind"
        whose = "ours is off: all servers agree; " if ours else ""
        yield Finding(
            "clock-skew",
            Severity.WARNING,
            node.name,
            f"{whose}it is {span(abs(offset_s))} {word} ours, give or take {error_s * 1000:.0f} ms",
            (Step("chronyc tracking", "the application" if ours else node.name, "is it synchronised?"),),
            figures={
                "offsetSeconds": round(offset_s, 3),
                "errorSeconds": round(error_s, 3),
                "ours": int(ours),
            },
        )


def synchronous(fleet: Fleet) -> Iterator[Finding]:
    """A primary that waits for more standbys than stream."""
    node = fleet.primary
    names = node.facts.text("synchronous_standby_names") if node else None
    if node is None or not names or not node.facts.server.reads_stats:
        return
    wanted = _wanted(names)
    senders = node.facts.last.senders
    there = [s for s in senders if s.state == "streaming" and s.sync_state in ("sync", "quorum")]
    if len(there) >= wanted:
        return
    waiting = node.facts.use.waiting_for_sync if node.facts.use else None
    yield Finding(
        "sync-standby-missing",
        Severity.CRITICAL,
        node.name,
        f"synchronous_standby_names={names!r} wants {wanted}, {len(there)} stream;"
        f" {counted(waiting or 0, 'commit')} waiting",
        (
            Step("select application_name, state, sync_state from pg_stat_replication;", node.name),
            Step(
                "alter system set synchronous_standby_names = '';",
                node.name,
                "to let commits go on without: one that is acknowledged then may be lost with this server",
            ),
            Step("select pg_reload_conf();", node.name),
        ),
        figures={"wanted": wanted, "streaming": len(there), "waiting": waiting},
    )


def _fails(archiver: Archiver) -> bool:
    if archiver.failed_s is None:
        return False
    return archiver.archived_s is None or archiver.failed_s < archiver.archived_s


def _skew_s(node: Node) -> float:
    """How far its clock is surely from ours."""
    return max(0.0, abs(node.facts.first.clock_offset_s) - node.facts.first.clock_error_s)


def _agree(fleet: Fleet, nodes: list[Node]) -> bool:
    offsets = [node.facts.first.clock_offset_s for node in nodes]
    return max(offsets) - min(offsets) <= fleet.thresholds.clock_s


def _wanted(names: str) -> int:
    """How many standbys `FIRST 2 (a, b)`, `ANY 1 (*)`, `2 (a, b)` or a plain list ask for."""
    found = _QUORUM.match(names)
    return int(found[1]) if found else 1
