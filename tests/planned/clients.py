"""What clients do, and how many they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psycopg

from pgfleet.core.diagnosis.thresholds import Thresholds
from tests.planned.stage import Case, Stage, planned


@planned("few connections are left", "connections-nearly-full", "primary")
def nearly_full(stage: Stage) -> Iterator[Case]:
    stage.sql("primary", "alter role app connection limit 3")
    stage.until_whole()
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(stage.client("primary", plain=True))
        yield stage.case(plain=True)
    stage.sql("primary", "alter role app connection limit -1")
    stage.until_whole()


@planned("the pools of all processes want more than there is", "pools-exceed-server", "primary")
def too_many_processes(stage: Stage) -> Iterator[Case]:
    yield stage.case(processes=4)


@planned(
    "a transaction stands open",
    "idle-in-transaction",
    "primary",
    thresholds=Thresholds(idle_transaction_s=0.0),
)
def idle(stage: Stage) -> Iterator[Case]:
    with stage.client("primary") as connection:
        connection.execute("select 1")
        yield stage.case()
        connection.rollback()


@planned(
    "a prepared transaction was forgotten",
    "prepared-transaction",
    "primary",
    thresholds=Thresholds(prepared_s=0.0),
)
def prepared(stage: Stage) -> Iterator[Case]:
    stage.sql("primary", "begin; create table of_two_phases (n int); prepare transaction 'it''s mine'")
    yield stage.case()
    stage.sql("primary", "rollback prepared 'it''s mine'")


@planned("an old snapshot keeps dead rows", "xmin-held", "primary", thresholds=Thresholds(xmin_age=20))
def xmin(stage: Stage) -> Iterator[Case]:
    with stage.client("primary") as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select txid_current()")
        stage.sql(
            "primary",
            "do $$ begin for i in 1..30 loop perform pg_current_xact_id(); commit; end loop; end $$",
        )
        yield stage.case()
        connection.rollback()


@planned(
    "a statement runs for long on a replica",
    "long-statement",
    "replica-2",
    thresholds=Thresholds(statement_s=0.0),
)
def long_statement(stage: Stage) -> Iterator[Case]:
    with stage.client("replica-2", autocommit=True) as connection:
        sleeper = threading.Thread(target=_sleep, args=(connection,))
        sleeper.start()
        stage.until("replica-2", "count(*) = 1 from pg_stat_activity where wait_event = 'PgSleep'")
        yield stage.case()
        connection.cancel()
        sleeper.join()


@planned("commits wait for a standby that is not there", "sync-standby-missing", "primary")
def synchronous(stage: Stage) -> Iterator[Case]:
    with stage.client("primary", autocommit=True) as connection:
        writer = threading.Thread(target=_write, args=(connection,))
        with stage.altered("primary", synchronous_standby_names="nosuch"):
            writer.start()
            stage.until("primary", "count(*) = 1 from pg_stat_activity where wait_event = 'SyncRep'")
            yield stage.case()
        writer.join()


def _sleep(connection: psycopg.Connection[object]) -> None:
    with suppress(psycopg.errors.QueryCanceled):
        connection.execute("select pg_sleep(60)")


def _write(connection: psycopg.Connection[object]) -> None:
    connection.execute("create table if not exists waited (n int)")
