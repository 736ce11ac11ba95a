"""Replicas that receive nothing, and what slots keep for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from pgfleet.core.diagnosis.thresholds import Thresholds
from pgfleet.local.proxy import FaultProxy
from pgfleet.testing import eventually
from tests.planned.stage import Case, Stage, planned

WRITE = "create table written as select repeat('x', 500) from generate_series(1, 4000); drop table written"
SOON = Thresholds(lag_warning_s=0.05, slot_share=1e-5)


@planned("the primary writes too little log for replicas", "wal-level-minimal", "primary")
def minimal(stage: Stage) -> Iterator[Case]:
    yield Case(stage.bare.environ())


@planned("every walsender is taken", "walsenders-exhausted", "primary")
def no_walsender_left(stage: Stage) -> Iterator[Case]:
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(stage.client("primary", replication=True))
        stage.until("primary", "count(*) = 10 from pg_stat_replication")
        yield stage.case()
    stage.until("primary", "count(*) = 2 from pg_stat_replication")


@planned(
    "the slot of a replica is not there", "slot-missing", "replica-2", "walreceiver-down", "slot-inactive"
)
def slot_missing(stage: Stage) -> Iterator[Case]:
    with stage.altered("replica-2", primary_slot_name="nosuch"):
        stage.until("primary", "count(*) = 1 from pg_stat_replication")
        yield stage.case()
    stage.until_whole()


@planned(
    "a replica looks for its primary in the wrong place", "walreceiver-down", "replica-2", "no-walsender"
)
def lost_its_way(stage: Stage) -> Iterator[Case]:
    with stage.redirected("replica-2", 1):
        stage.until("primary", "count(*) = 1 from pg_stat_replication")
        yield stage.case()


@planned("the same, asked by a role without privileges", "walreceiver-down", "replica-2")
def lost_its_way_plain(stage: Stage) -> Iterator[Case]:
    with stage.redirected("replica-2", 1):
        stage.until("primary", "count(*) = 1 from pg_stat_replication")
        yield stage.case(plain=True)


@planned("the slot of a replica has lost its log", "slot-lost", "primary", "walreceiver-down")
def slot_lost(stage: Stage) -> Iterator[Case]:
    stage.fleet.stop("replica-2")
    with stage.altered("primary", max_slot_wal_keep_size="1MB"):
        _next_files(stage, 3)
        stage.until_whole(replicas=1)
        stage.sql("primary", "checkpoint")
        stage.until("primary", "wal_status = 'lost' from pg_replication_slots where slot_name = 'replica_2'")
        stage.fleet.start("replica-2")
        yield stage.case()
    stage.copy_anew("replica-2")


@planned(
    "a replica without a slot was away for too long",
    "wal-removed",
    "replica-2",
    "walreceiver-down",
    "no-slot",
)
def wal_removed(stage: Stage) -> Iterator[Case]:
    with stage.altered("replica-2", primary_slot_name=""):
        stage.fleet.stop("replica-2")
        stage.sql("primary", "select pg_drop_replication_slot('replica_2')")
        _next_files(stage, 3)
        stage.until_whole(replicas=1)
        stage.sql("primary", "checkpoint")
        stage.fleet.start("replica-2")
        yield stage.case()
    stage.copy_anew("replica-2")


@planned("a replica has no slot", "no-slot", "replica-2")
def without_slot(stage: Stage) -> Iterator[Case]:
    with stage.altered("replica-2", primary_slot_name=""):
        stage.until("primary", "not active from pg_replication_slots where slot_name = 'replica_2'")
        stage.sql("primary", "select pg_drop_replication_slot('replica_2')")
        stage.until_whole()
        yield stage.case()
        stage.sql("primary", "select pg_create_physical_replication_slot('replica_2', true)")
    stage.until("primary", "active from pg_replication_slots where slot_name = 'replica_2'")
    stage.until_whole()


@planned("a slot that nobody uses", "slot-inactive", "primary")
def orphan(stage: Stage) -> Iterator[Case]:
    with _slot(stage):
        yield stage.case()


@planned("a slot that is about to lose its log", "slot-unreserved", "primary")
def unreserved(stage: Stage) -> Iterator[Case]:
    with _slot(stage), stage.altered("primary", max_slot_wal_keep_size="1MB", checkpoint_timeout="1h"):
        _next_files(stage, 2)
        yield stage.case()


@planned("nothing bounds what slots keep", "slot-unbounded", "primary")
def unbounded(stage: Stage) -> Iterator[Case]:
    with stage.altered("primary", max_slot_wal_keep_size="-1"):
        yield stage.case()


@planned("every slot is taken", "slots-exhausted", "primary")
def no_slot_left(stage: Stage) -> Iterator[Case]:
    spare = [f"spare_{number}" for number in range(3)]
    for name in spare:
        stage.sql("primary", f"select pg_create_physical_replication_slot('{name}')")
    yield stage.case()
    for name in spare:
        stage.sql("primary", f"select pg_drop_replication_slot('{name}')")


@planned("a replica follows another one", "cascading", "replica-2", "no-slot")
def cascading(stage: Stage) -> Iterator[Case]:
    with _cascade(stage):
        yield stage.case()


@planned("a replica follows a server that nobody told of", "upstream-unknown", "replica-2")
def unknown_upstream(stage: Stage) -> Iterator[Case]:
    with _cascade(stage):
        yield Case(stage.environ(READ_REPLICA_1_CONNECTION_STRING=None))


@planned(
    "the way from the primary to a replica is broken",
    "replica-lags",
    "replica-2",
    "slot-retains-wal",
    thresholds=SOON,
)
def severed(stage: Stage) -> Iterator[Case]:
    """It still counts as streaming: nobody has noticed yet."""
    with (
        FaultProxy("127.0.0.1", stage.fleet.node("primary").port) as proxy,
        stage.redirected("replica-2", proxy.port),
    ):
        eventually(lambda: proxy.connections == 1)
        stage.until_whole()
        proxy.blackhole()
        stage.sql("primary", WRITE)
        eventually(lambda: stage.case(thresholds=SOON).findings()[0].id == "replica-lags")
        yield stage.case()
        proxy.reset()  # or the slot would stay in use for a minute


def _next_files(stage: Stage, count: int) -> None:
    for _ in range(count):
        stage.sql("primary", "select pg_log_standby_snapshot(); select pg_switch_wal()")


class _slot:  # noqa: N801 (used as a context manager)
    """A slot that nobody uses."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __enter__(self) -> None:
        self._stage.sql("primary", "select pg_create_physical_replication_slot('orphan', true)")

    def __exit__(self, *_: object) -> None:
        self._stage.sql("primary", "select pg_drop_replication_slot('orphan')")


class _cascade:  # noqa: N801
    """The second replica follows the first."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stack = ExitStack()

    def __enter__(self) -> None:
        stage = self._stage
        enter = self._stack.enter_context
        enter(stage.altered("replica-2", primary_slot_name=""))
        enter(stage.redirected("replica-2", stage.fleet.node("replica-1").port))
        stage.until("replica-1", "count(*) = 1 from pg_stat_replication where state = 'streaming'")
        stage.until("primary", "not active from pg_replication_slots where slot_name = 'replica_2'")
        stage.sql("primary", "select pg_drop_replication_slot('replica_2')")

    def __exit__(self, *_: object) -> None:
        self._stage.sql("primary", "select pg_create_physical_replication_slot('replica_2', true)")
        self._stack.close()
        self._stage.until("primary", "active from pg_replication_slots where slot_name = 'replica_2'")
