"""Servers that are not what the settings take them for."""

from __future__ import annotations

from collections.abc import Iterator

from tests.integration.test_aurora import DROP, MAKE
from tests.planned.stage import Case, Stage, planned


@planned("every address leads to a standby", "no-primary", "primary")
def only_standbys(stage: Stage) -> Iterator[Case]:
    first, second = stage.fleet.dsn("replica-1"), stage.fleet.dsn("replica-2")
    yield Case(
        stage.environ(
            DATABASE_URL=first, READ_REPLICA_1_CONNECTION_STRING=second, READ_REPLICA_2_CONNECTION_STRING=None
        )
    )


@planned("a replica belongs to another cluster", "wrong-cluster", "replica-2", "version-skew")
def another_cluster(stage: Stage) -> Iterator[Case]:
    yield stage.second_at(stage.older.dsn("primary"))


@planned("two names lead to one server", "same-server", "replica-2")
def twice(stage: Stage) -> Iterator[Case]:
    yield stage.second_at(stage.fleet.dsn("replica-1").replace("127.0.0.1", "localhost"))


@planned("DATABASE_URL leads to a standby", "roles-moved", "primary", "replica-is-primary")
def exchanged(stage: Stage) -> Iterator[Case]:
    dsns = {name: stage.fleet.dsn(name) for name in ("primary", "replica-1")}
    yield Case(
        stage.environ(DATABASE_URL=dsns["replica-1"], READ_REPLICA_1_CONNECTION_STRING=dsns["primary"])
    )


@planned("an address leads to several servers", "shared-endpoint", "replica-1")
def shared(stage: Stage) -> Iterator[Case]:
    yield Case(stage.environ(READ_REPLICA_1_SHARED_ENDPOINT="true"))


@planned("the servers are Amazon Aurora", "aurora", "primary")
def aurora(stage: Stage) -> Iterator[Case]:
    stage.sql("primary", MAKE)
    stage.until_whole()
    yield stage.case()
    stage.sql("primary", DROP)
    stage.until_whole()


@planned("discovery does not answer", "discovery-silent", "primary")
def discovery(stage: Stage) -> Iterator[Case]:
    yield Case(stage.environ(PGFLEET_DISCOVERY="patroni:http://127.0.0.1:1"))


@planned("replicas are switched off", "replicas-disabled", "primary")
def disabled(stage: Stage) -> Iterator[Case]:
    yield Case(stage.environ(USE_READ_REPLICAS="false"))


@planned("the role has no privileges", "privileges-missing", "primary")
def plain_role(stage: Stage) -> Iterator[Case]:
    yield stage.case(plain=True)


@planned("a question is refused", "not-seen", "primary")
def refused(stage: Stage) -> Iterator[Case]:
    stage.sql("primary", "revoke select on pg_stat_archiver from public")
    stage.until_whole()
    yield stage.case(plain=True)
    stage.sql("primary", "grant select on pg_stat_archiver to public")
