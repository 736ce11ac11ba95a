"""The checklist on real fleets: well, and with each thing really wrong that an item is there for."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgfleet import AsyncReplicaRouter
from pgfleet.cli.environment import router_of
from pgfleet.errors import DriverMissing
from pgfleet.local import LocalFleet, ServerState
from pgfleet.settings import Settings
from pgfleet.testing import eventually
from pgfleet.verify.breaking import CommandBreaker, local_replicas
from pgfleet.verify.failover import Watch, fail_over
from pgfleet.verify.figures import FailoverFigures
from pgfleet.verify.items import Item, Outcome
from pgfleet.verify.judgements.reads import failover_item
from tests.conftest import INSTALLATIONS
from tests.rotating import rotating
from tests.verifying import failed, item, look


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    with LocalFleet.temporary(replicas=2) as fleet:
        yield fleet


@pytest.fixture(autouse=True)
def whole(fleet: LocalFleet) -> Iterator[None]:
    """Whatever a test broke is mended, and follows again."""
    yield
    for name in fleet.names:
        fleet.start(name)
    for name in fleet.names[1:]:
        fleet.lag(name, 0)
    assert eventually(lambda: all(node.is_streaming for node in fleet.status()[1:]))


def all_run(fleet: LocalFleet) -> bool:
    return all(status.state is ServerState.RUNNING for status in fleet.status())


def test_a_fleet_that_is_well_on_asyncpg(fleet: LocalFleet) -> None:
    report = look(fleet.environ(), routers=lambda settings: AsyncReplicaRouter(settings, "asyncpg"))
    assert failed(report) == {}
    assert item(report, "replicas").figures == {
        "configured": 2,
        "streaming": 2,
        "wanted": None,
        "standbys": 2,
    }
    assert set(item(report, "distribution").figures["by_replica"]) == {"replica-1", "replica-2"}
    assert item(report, "own-writes").figures["writes"] > 1
    assert item(report, "fallback").figures["by_primary"] == item(report, "fallback").figures["reads"] > 0
    assert [endpoint.role for endpoint in report.endpoints] == ["primary", "replica", "replica"]
    assert report.endpoints[1].address == f"127.0.0.1:{fleet.node('replica-1').port}/postgres"
    assert report.endpoints[1].version == fleet.postgresql
    assert report.notices == ()


@pytest.mark.parametrize("pg_bin", [path for path in INSTALLATIONS if path and "/usr/lib/" in str(path)][-1:])
def test_on_an_older_postgresql(pg_bin: Path) -> None:
    with LocalFleet.temporary(replicas=1, pg_bin=pg_bin) as older:
        report = look(older.environ(plain=True))
        assert failed(report) == {}
        assert str(report.endpoints[0].version).startswith(older.postgresql)


class Forgetful(AsyncReplicaRouter[Any]):
    """A router that does not know what an org has written."""

    async def fetch(self, sql: str, *args: Any, **options: Any) -> list[Any]:
        options.pop("org_id", None)
        return await super().fetch(sql, *args, **options)


def test_a_lagging_replica_and_a_router_that_forgets_writes(fleet: LocalFleet) -> None:
    fleet.lag("replica-2", 5.0)
    report = look(fleet.environ(), routers=Forgetful, seconds=1.5)
    told = failed(report)
    assert set(told) == {"lag", "own-writes"}
    assert told["lag"].startswith("replica-2: 1.")
    assert "did not see the write before them" in told["own-writes"]
    assert item(report, "lag").figures["max_lag_s"]["replica-1"] < 1


def test_a_killed_replica(fleet: LocalFleet) -> None:
    fleet.kill("replica-1")
    told = failed(look(fleet.environ()))
    assert set(told) == {"replicas", "lag", "health", "pools", "distribution"}
    assert told["replicas"].startswith("replica-1: not answering: connection")
    assert told["lag"] == "replica-1: not answering"
    assert told["health"] == "1 of 2 replicas are healthy"
    assert told["pools"] == "no connection to replica-1"
    assert told["distribution"] == "replica-1 answered 0.0% of the replicas' reads, its weight says 50.0%"


def test_a_standby_that_streams_from_nobody(fleet: LocalFleet) -> None:
    fleet.sql("replica-1", "alter system set primary_conninfo = ''")
    fleet.sql("replica-1", "select pg_reload_conf()")
    try:
        assert eventually(lambda: fleet.sql("replica-1", "select 1 from pg_stat_wal_receiver") == [])
        told = failed(look(fleet.environ(), seconds=1.5))
    finally:
        fleet.sql("replica-1", "alter system reset primary_conninfo")
        fleet.sql("replica-1", "select pg_reload_conf()")
    assert told["replicas"] == "replica-1: runs, but streams from nobody"
    assert told["lag"].startswith("replica-1: 1.")


def test_a_drained_replica_is_an_imbalance(fleet: LocalFleet, tmp_path: Path) -> None:
    environ = fleet.environ()
    dsn = environ.pop("READ_REPLICA_2_CONNECTION_STRING")
    (tmp_path / "fleet.toml").write_text(f'[[replica]]\nname = "reports"\ndsn = "{dsn}"\ndrain = true\n')
    report = look(environ | {"PGFLEET_FLEET_FILE": str(tmp_path / "fleet.toml")})
    told = failed(report)
    assert set(told) == {"distribution"}
    assert told["distribution"].startswith("replica-1 answered 100.0% of the replicas' reads")
    assert [endpoint.name for endpoint in report.endpoints] == ["primary", "replica-1", "reports"]


def test_weights_are_respected_and_a_third_replica_is_missed(fleet: LocalFleet) -> None:
    environ = fleet.environ() | {"READ_REPLICA_1_WEIGHT": "3", "PGFLEET_MAX_LAGS": "5"}
    report = look(environ, replicas=3, drill=True, directory=Path("/nonexistent"))
    drill = item(report, "failover")
    assert drill.outcome is Outcome.SKIPPED
    assert drill.evidence == ("the nodes of the environment are none of a local fleet in /nonexistent",)
    assert drill.next_step.startswith("If they are local, --directory says where; else add --allow-kill")
    assert failed(report) == {
        "replicas": "2 replicas are configured, 3 are wanted",
        "environment": "PGFLEET_MAX_LAGS: nothing reads it; did you mean PGFLEET_MAX_LAG_S?",
    }
    reads = item(report, "distribution").figures["by_replica"]
    assert 2.5 < reads["replica-1"] / reads["replica-2"] < 3.5


def test_two_replicas_behind_one_address(fleet: LocalFleet) -> None:
    environ = fleet.environ()
    second = environ.pop("READ_REPLICA_2_CONNECTION_STRING")
    first = environ["READ_REPLICA_1_CONNECTION_STRING"]
    with rotating(*(int(dsn.rpartition(":")[2].partition("/")[0]) for dsn in (first, second))) as proxy:
        address = {
            "READ_REPLICA_1_CONNECTION_STRING": proxy.dsn(first),
            "READ_REPLICA_1_SHARED_ENDPOINT": "true",
        }
        report = look(environ | address)
    assert failed(report) == {}
    assert set(item(report, "distribution").figures["by_replica"]) == {"replica-1"}
    assert "of replica-1: of the server that answered the probes" in item(report, "lag").evidence


def test_the_primary_alone(fleet: LocalFleet) -> None:
    told = failed(look(fleet.environ() | {"USE_READ_REPLICAS": "false"}))
    assert set(told) == {"replicas", "lag", "health", "pools", "environment", "distribution"}
    assert told["replicas"] == "replica-1: read replicas are disabled"
    assert told["distribution"] == "0% of the reads were answered by replicas, the target is 80%"


def test_reads_that_may_not_fall_back(fleet: LocalFleet) -> None:
    def missing(_: Any) -> Any:
        raise DriverMissing("the monitoring API needs FastAPI", "pip install 'pgfleet[server]'")

    report = look(fleet.environ() | {"PGFLEET_UNQUALIFIED": "error"}, serve=missing, read_only=True)
    assert set(failed(report)) == {"fallback"}
    assert "reads failed: NoReplica" in failed(report)["fallback"]
    left = {it.key: it.next_step for it in report.items if it.outcome is Outcome.SKIPPED}
    assert set(left) == {"health", "pools", "alerts", "failover", "endpoints", "own-writes"}
    assert left["health"] == "pip install 'pgfleet[server]', or give --url of a service that runs."
    assert left["own-writes"] == "Leave out --read-only."


def test_no_primary(fleet: LocalFleet) -> None:
    fleet.kill("primary")
    told = failed(look(fleet.environ()))
    assert {"fallback", "own-writes"} <= set(told)
    assert told["own-writes"].startswith("a write failed: PrimaryUnavailable")


def verb(fleet: LocalFleet, name: str, node: str) -> str:
    """A shell command that does it, as an administrator would write one."""
    code = (
        f"from pgfleet.local import LocalFleet; LocalFleet.attach({str(fleet.directory)!r}).{name}({node!r})"
    )
    return shlex.join([sys.executable, "-c", code])


def fail(fleet: LocalFleet, stop: str, start: str, within_s: float) -> Item:
    """Only the failover, by these commands."""

    async def run() -> FailoverFigures:
        async with router_of(Settings.from_env(fleet.environ())) as router:
            return await fail_over(Watch(router, CommandBreaker(stop, start, within_s), within_s))

    return failover_item(asyncio.run(run()))


def test_commands_stop_a_replica_and_start_it_again(fleet: LocalFleet) -> None:
    found = fail(fleet, verb(fleet, "stop", "replica-2"), verb(fleet, "start", "replica-2"), 60.0)
    assert found.outcome is Outcome.PASSED, found.evidence
    assert (found.figures["victim"], found.figures["errors"]) == ("replica-2", 0)
    assert all_run(fleet)


@pytest.mark.parametrize(
    ("stop", "told"),
    [
        ("echo no such unit >&2; exit 5", "the command of --allow-kill ended with 5: no such unit"),
        ("true", "no replica stopped answering within 1 s"),
        ("exec sleep 60", "the command of --allow-kill did not end within 1 s"),
    ],
)
def test_a_command_that_stops_nothing_fails_and_is_undone(
    fleet: LocalFleet, tmp_path: Path, stop: str, told: str
) -> None:
    undone = tmp_path / "undone"
    found = fail(fleet, stop, shlex.join(["touch", str(undone)]), 1.0)
    assert (found.outcome, found.evidence[0]) == (Outcome.FAILED, told)
    assert undone.exists()


def test_a_replica_that_does_not_come_back_in_time(fleet: LocalFleet) -> None:
    found = fail(fleet, verb(fleet, "stop", "replica-2"), "true", 2.0)
    assert found.outcome is Outcome.FAILED
    assert found.evidence[0] == "replica-2 answered no read within 2 s of its start"
    assert found.figures["errors"] == 0


def test_a_fleet_of_somebody_else_is_not_drilled(fleet: LocalFleet, tmp_path: Path) -> None:
    ours = Settings.from_env(fleet.environ())
    found = local_replicas((ours.primary, *ours.replicas), fleet.directory)
    assert found is not None
    assert found[1] == {"replica-1": "replica-1", "replica-2": "replica-2"}
    other = Settings.from_env({"DATABASE_URL": "postgresql://app@127.0.0.1:1/x"}).primary
    assert local_replicas((*ours.replicas, other), fleet.directory) is None
    assert local_replicas(ours.replicas, tmp_path) is None
    assert local_replicas((), fleet.directory) is None
