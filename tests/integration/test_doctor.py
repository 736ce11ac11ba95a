"""How the doctor looks at servers: on each PostgreSQL and driver, changing nothing, showing no secret."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest

from pgfleet.adapters.asyncpg import AsyncpgConnector
from pgfleet.adapters.psycopg import AsyncPsycopgConnector
from pgfleet.adapters.session import SessionSettings
from pgfleet.core.diagnosis import questions
from pgfleet.core.diagnosis.finding import Severity
from pgfleet.core.diagnosis.obstacle import Obstacle
from pgfleet.core.diagnosis.snapshot import LOST, NO_ANSWER
from pgfleet.doctor import examine as examining
from pgfleet.doctor.knock import knock
from pgfleet.doctor.look import AGAIN, Look
from pgfleet.local import LocalFleet
from pgfleet.ports import Connector
from pgfleet.settings import Dsn, Settings
from pgfleet.testing import eventually_async
from tests.planned import PLANNED, Case, Stage, reach
from tests.planned.stage import BRIEF

Driver = Callable[[SessionSettings], Connector[Any]]
DRIVERS: tuple[Driver, ...] = (AsyncPsycopgConnector, AsyncpgConnector)
EACH = pytest.mark.parametrize("driver", DRIVERS, ids=["psycopg", "asyncpg"])
OF_LOGIN = (
    reach.dns,
    reach.no_route,
    reach.dropped,
    reach.frozen,
    reach.another_protocol,
    reach.no_tls,
    reach.certificate,
    reach.full,
    reach.locked_role,
    reach.wrong_password,
    reach.no_password,
    reach.no_database,
    reach.connect_denied,
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack)


@pytest.fixture
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """The doctor has this driver and no other."""
    driver: Driver = request.param
    monkeypatch.setattr(examining, "connector", driver)
    return driver


@pytest.mark.parametrize("driver", DRIVERS, ids=["psycopg", "asyncpg"], indirect=True)
@pytest.mark.parametrize("plain", [False, True], ids=["superuser", "plain"])
@pytest.mark.parametrize("which", ["fleet", "older"])
@pytest.mark.usefixtures("driver")
def test_a_fleet_that_is_well_is_told_so_and_everything_is_answered(
    stage: Stage, which: str, plain: bool
) -> None:
    fleet: LocalFleet = getattr(stage, which)
    snapshot = Case(fleet.environ(plain)).snapshot()
    assert [node.unseen for node in snapshot.nodes] == [()] * len(fleet.names)
    wanted = {"privileges-missing", "fsync-off"} if plain else {"fsync-off"}
    findings = Case(fleet.environ(plain) | {"DB_MAX_CONNECTIONS": "50"}).findings()
    assert {finding.id for finding in findings} == wanted
    assert {finding.severity for finding in findings} == {Severity.NOTICE}


@pytest.mark.parametrize("driver", DRIVERS[1:], ids=["asyncpg"], indirect=True)
@pytest.mark.parametrize("arrange", OF_LOGIN, ids=lambda arrange: arrange.__name__)
@pytest.mark.usefixtures("driver")
def test_obstacles_are_told_apart_on_the_other_driver_too(
    stage: Stage, arrange: Callable[[Stage], Any]
) -> None:
    planned = next(planned for planned in PLANNED if planned.arrange is arrange)
    with arrange(stage) as case:
        (finding, *_) = case.findings()
    assert (finding.id, finding.node) == (planned.first, planned.node)


@EACH
async def test_a_session_of_ours_writes_nothing(stage: Stage, driver: Driver) -> None:
    connector = driver(SessionSettings(Dsn.parse(stage.fleet.dsn("primary"))))
    conn = await connector.open(5.0)
    try:
        await connector.execute(conn, questions.SESSION_SQL, ())
        with pytest.raises(Exception, match="read-only transaction") as refused:
            await connector.execute(conn, "create table written (n int)", ())
    finally:
        await connector.close(conn)
    fault = connector.fault(refused.value)
    assert fault
    assert fault.sqlstate == "25006"


def test_looking_takes_no_transaction_number(stage: Stage) -> None:
    with stage.altered("primary", autovacuum="off"):
        ask = "select pg_snapshot_xmax(pg_current_snapshot())"
        before = stage.sql("primary", ask)
        for _ in range(3):
            stage.case().findings()
        assert stage.sql("primary", ask) == before


def test_a_server_that_falls_silent_amid_the_questions_is_judged_by_what_it_said(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its first words it answers nothing any more."""
    ask = Look.ask_once

    async def fall_silent(look: Look) -> None:
        if look.server and look.server.in_recovery:
            look.unseen["its settings"] = NO_ANSWER
            await asyncio.Event().wait()
        await ask(look)

    monkeypatch.setattr(Look, "ask_once", fall_silent)
    findings = stage.case(patience=BRIEF).findings()
    told = [finding for finding in findings if finding.severity is Severity.WARNING]
    assert [(f.id, f.node) for f in told] == [("not-seen", "replica-1"), ("not-seen", "replica-2")]
    assert [AGAIN in finding.evidence for finding in told] == [True, True]


@pytest.mark.parametrize("driver", DRIVERS, ids=["psycopg", "asyncpg"], indirect=True)
@pytest.mark.usefixtures("driver")
def test_a_server_that_hangs_up_amid_the_questions_is_told_from_one_that_is_slow(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Look.ask_once
    end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgfleet doctor'"

    async def gone(look: Look) -> bool:
        return look.connector.is_gone(look.conn)

    async def hang_up(look: Look) -> None:
        await ask(look)
        if look.server and not look.server.in_recovery:
            await asyncio.to_thread(stage.sql, "primary", end)
            await eventually_async(lambda: gone(look))

    monkeypatch.setattr(Look, "ask_once", hang_up)
    (finding, *_) = stage.case().findings()
    assert (finding.id, finding.node) == ("not-seen", "primary")
    assert finding.evidence.startswith(f"{AGAIN}: {LOST}: ")
    assert finding.fix[0].run == "pgfleet doctor"


def test_a_defect_of_ours_is_no_finding(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Look) -> None:
        raise TypeError("ours")

    monkeypatch.setattr(Look, "ask_once", fail)
    with pytest.raises(TypeError, match="ours"):
        stage.case().findings()


def test_a_resolver_that_never_answers_keeps_nobody_waiting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends while the look-up goes on."""
    look_up, never = socket.getaddrinfo, threading.Event()

    def hang(host: Any, *args: Any, **options: Any) -> Any:
        if host != "slow.example":
            return look_up(host, *args, **options)
        never.wait()
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        (finding, *_) = stage.second_at("postgresql://app:x@slow.example/db", patience=BRIEF).findings()
    finally:
        never.set()
    assert (finding.id, finding.node) == ("dns-failed", "replica-2")


async def test_knocking_where_all_is_well_finds_nothing(stage: Stage) -> None:
    """By SCRAM, over TLS where it is offered: what only the driver minded is left to the driver's words."""
    assert await knock(Dsn.parse(stage.fleet.dsn("primary")), None, 5.0) is None
    secured = f"{stage.older.dsn('primary').replace('127.0.0.1', 'localhost')}?sslmode=verify-full"
    assert await knock(Dsn.parse(f"{secured}&sslrootcert={stage.certificates.authority}"), None, 5.0) is None


async def test_an_answer_that_makes_no_sense_tells_nothing() -> None:
    """Then what the driver makes of it is told."""

    over = asyncio.Event()

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"N" + b"R\0\0\0\6??")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        over.set()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await knock(Dsn.parse(f"postgresql://app:x@127.0.0.1:{port}/db"), None, 5.0) is None
        await over.wait()


async def test_the_password_is_asked_of_who_rotates_it(stage: Stage) -> None:
    blocked = await knock(Dsn.parse(stage.fleet.dsn("primary")), lambda: "rotated away", 5.0)
    assert blocked
    assert blocked.obstacle is Obstacle.PASSWORD_WRONG


async def test_a_password_that_cannot_be_asked_for_is_told_in_the_driver_s_words(stage: Stage) -> None:
    def broken() -> str:
        raise LookupError("no vault")

    settings = Settings.from_env(stage.environ())
    replica = replace(settings.replicas[1], password=broken)
    seen = await examining.examine(replace(settings, replicas=(settings.replicas[0], replica)))
    (blocked,) = [node.blocked for node in seen.nodes if node.blocked]
    assert (blocked.obstacle, blocked.detail) == (Obstacle.FAILED, "no vault")


async def test_a_certificate_of_another_host_does_not_verify(stage: Stage) -> None:
    dsn = f"{stage.older.dsn('primary')}?sslmode=verify-full&sslrootcert={stage.certificates.authority}"
    blocked = await knock(Dsn.parse(dsn), None, 5.0)
    assert blocked
    assert blocked.obstacle is Obstacle.CERTIFICATE
    assert "127.0.0.1" in blocked.detail


def test_no_password_is_in_anything_that_was_seen(stage: Stage) -> None:
    secrets = {stage.fleet.dsn("primary", plain).split(":")[2].split("@")[0] for plain in (False, True)}
    with reach.wrong_password(stage) as case:
        told = repr(case.snapshot()) + repr(case.findings())
    assert not [secret for secret in {*secrets, "wr0ng"} if secret in told]
