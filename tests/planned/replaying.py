"""Replicas that have received what they do not show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgfleet.core.diagnosis.thresholds import Thresholds
from tests.planned.stage import Case, Stage, planned

MOVE = "create table if not exists moved (n int); insert into moved values (1)"
AT_ONCE = Thresholds(lag_warning_s=0.0)


@planned("replay is paused", "replay-paused", "replica-2", "replica-lags", thresholds=AT_ONCE)
def paused(stage: Stage) -> Iterator[Case]:
    stage.fleet.lag("replica-2", paused=True)
    stage.sql("primary", MOVE)
    stage.until("replica-2", "pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()")
    yield stage.case()
    stage.fleet.lag("replica-2", 0)
    stage.until_whole()


@planned(
    "a replica replays late by its settings", "apply-delay", "replica-2", "replica-lags", thresholds=AT_ONCE
)
def delayed(stage: Stage) -> Iterator[Case]:
    stage.fleet.lag("replica-2", 30)
    stage.sql("primary", MOVE)
    stage.until("replica-2", "pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()")
    yield stage.case()
    stage.fleet.lag("replica-2", 0)
    stage.until_whole()


@planned(
    "a statement holds up replay",
    "replay-waits",
    "replica-2",
    "replica-lags",
    "replay-wait-unbounded",
    thresholds=AT_ONCE,
)
def waiting(stage: Stage) -> Iterator[Case]:
    with stage.altered("replica-2", max_standby_streaming_delay="-1"), _reader(stage):
        _remove(stage)
        stage.until(
            "replica-2",
            "wait_event = 'RecoveryConflictSnapshot' from pg_stat_activity where backend_type = 'startup'",
        )
        yield stage.case()
    stage.until_whole()


@planned("replay cancels statements", "query-conflicts", "replica-2")
def conflicts(stage: Stage) -> Iterator[Case]:
    with stage.altered("replica-2", max_standby_streaming_delay="0"), _reader(stage):
        _remove(stage)
        stage.until("replica-2", "sum(confl_snapshot) > 0 from pg_stat_database_conflicts")
        yield stage.case()
    stage.until_whole()
    stage.sql("replica-2", "select pg_stat_reset()")
    stage.until("replica-2", "sum(confl_snapshot) = 0 from pg_stat_database_conflicts")


@planned("replay waits for statements for ever", "replay-wait-unbounded", "replica-2")
def unbounded(stage: Stage) -> Iterator[Case]:
    with stage.altered("replica-2", max_standby_streaming_delay="-1"):
        yield stage.case()


@planned(
    "a setting of the primary was raised above a replica's",
    "setting-below-primary",
    "replica-1",
    "replay-paused",
)
def below(stage: Stage) -> Iterator[Case]:
    with stage.altered("primary", max_connections="130"):
        stage.fleet.restart("primary")
        for name in ("replica-1", "replica-2"):
            stage.until(name, "pg_get_wal_replay_pause_state() = 'paused'")
        yield stage.case()
    for name in ("replica-1", "replica-2"):
        stage.sql(name, "alter system set max_connections = 130")
    for name in ("primary", "replica-1", "replica-2"):
        stage.fleet.restart(name)
    stage.until_whole()


@contextmanager
def _reader(stage: Stage) -> Iterator[None]:
    """A transaction on the second replica with a snapshot of its own."""
    stage.sql("primary", "drop table if exists dying; create table dying as select generate_series(1, 100) n")
    stage.until_whole()
    with stage.client("replica-2") as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select count(*) from dying")
        try:
            yield
        finally:
            connection.close()


def _remove(stage: Stage) -> None:
    stage.sql("primary", "delete from dying")
    stage.sql("primary", "vacuum dying")
