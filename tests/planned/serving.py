"""Settings and hosts."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pgfleet.local import LocalFleet
from tests.planned.stage import Case, Stage, planned

DISK_BYTES = 400 << 20
LATE = """#!/bin/sh
export LD_PRELOAD='{library}' FAKETIME=-120s FAKETIME_DONT_FAKE_MONOTONIC=1
exec '{postgres}' "$@"
"""


@planned("the disk is nearly full", "disk-nearly-full", "primary")
def disk(stage: Stage) -> Iterator[Case]:
    """A small one, in memory, on which nothing but a primary is, and a file that takes what is left."""
    with _small_disk() as directory:
        fleet = LocalFleet.up(directory / "fleet", replicas=0)
        try:
            _fill(directory)
            yield Case({"DATABASE_URL": fleet.dsn("primary"), "DB_MAX_CONNECTIONS": "50"})
        finally:
            fleet.down()


@contextmanager
def _small_disk() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="pgfleet-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
        directory.rmdir()


def _fill(directory: Path) -> None:
    """All but a fiftieth."""
    stat = os.statvfs(directory)
    with (directory / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, (stat.f_bavail - stat.f_blocks // 50) * stat.f_frsize)


@planned("archiving fails", "archive-failing", "primary")
def archive(stage: Stage) -> Iterator[Case]:
    with stage.altered("primary", archive_command="/bin/false"):
        stage.sql("primary", "select pg_log_standby_snapshot(); select pg_switch_wal()")
        stage.until("primary", "failed_count > 0 from pg_stat_archiver")
        yield stage.case()
    stage.until("primary", "last_archived_time > last_failed_time from pg_stat_archiver")


@planned("the clock of this host is wrong", "clock-skew", "primary")
def clock(stage: Stage) -> Iterator[Case]:
    yield stage.case(clock=lambda: time.time() - 120)


@planned("the clock of a replica is wrong", "clock-skew", "replica-2")
def clock_of_replica(stage: Stage) -> Iterator[Case]:
    """The server itself is told another time by libfaketime, whoever asks the system for it."""
    server = stage.fleet._cluster().server("replica-2")
    late = server.node.directory / "postgres-late"
    late.write_text(LATE.format(library=_faketime(), postgres=server.postgres))
    late.chmod(0o755)
    stage.fleet.stop("replica-2")
    replace(server, postgres=late).spawn()
    server.wait_ready()
    stage.until_whole()
    yield stage.case()
    stage.fleet.restart("replica-2")
    stage.until_whole()


def _faketime() -> str:
    """The library, as the command `faketime` has a program load it."""
    asked = ["faketime", "-f", "+0", "printenv", "LD_PRELOAD"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


@planned("transactions are read-only by default", "read-only-default", "primary")
def read_only(stage: Stage) -> Iterator[Case]:
    stage.sql("primary", "alter role app set default_transaction_read_only = on")
    yield stage.case(plain=True)
    stage.sql("primary", "alter role app reset default_transaction_read_only")


@planned("a crash may destroy the data", "fsync-off", "primary")
def not_durable(stage: Stage) -> Iterator[Case]:
    yield stage.case()


@planned("an old primary could not be rewound", "cannot-rewind", "primary")
def no_checksums(stage: Stage) -> Iterator[Case]:
    fleet = stage.bare
    fleet.stop("primary")
    node = fleet.node("primary")
    tool = Path(fleet._cluster().state.pg_bin, "pg_checksums")
    subprocess.run([tool, "--disable", "-D", node.data_directory], check=True, capture_output=True)
    own = node.data_directory / "postgresql.auto.conf"
    before = own.read_text()
    own.write_text(f"{before}wal_level = 'replica'\n")
    fleet.start("primary")
    yield Case(fleet.environ())
    fleet.stop("primary")
    own.write_text(before)
    fleet.start("primary")


@planned("settings wait for a restart", "pending-restart", "replica-1")
def pending(stage: Stage) -> Iterator[Case]:
    with stage.altered("replica-1", max_worker_processes="12"):
        yield stage.case()
    stage.fleet.restart("replica-1")  # what is taken out of the file is pending too
    stage.until_whole()


@planned("tables that replicas cannot read", "unlogged-tables", "primary")
def unlogged(stage: Stage) -> Iterator[Case]:
    stage.sql("primary", "create unlogged table volatile (n int)")
    yield stage.case()
    stage.sql("primary", "drop table volatile")
