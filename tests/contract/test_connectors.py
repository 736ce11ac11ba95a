"""What every connector promises, held against each: real drivers, real servers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pgfleet.adapters.asyncpg import AsyncpgConnector
from pgfleet.adapters.psycopg import AsyncPsycopgConnector, PsycopgConnector
from pgfleet.adapters.session import SessionSettings
from pgfleet.core.failure import Fault, Phase, Verdict, classify
from pgfleet.core.node import Role
from pgfleet.core.probe import OBSERVE_SQL, read_observation
from pgfleet.faults import network_fault
from pgfleet.local import LocalFleet
from pgfleet.runtimes import drive
from pgfleet.settings import Dsn
from pgfleet.testing import eventually, eventually_async

CONNECTORS = (AsyncpgConnector, AsyncPsycopgConnector, PsycopgConnector)
pytestmark = pytest.mark.parametrize("make", CONNECTORS, ids=lambda make: make.__name__)
Make = Callable[[SessionSettings], Any]
TIMEOUT_S = 5.0


def to(fleet: LocalFleet, make: Make, name: str = "primary", **changes: Any) -> Any:
    """A connector to a node of the fleet."""
    return make(SessionSettings(Dsn.parse(fleet.dsn(name)), **changes))


def verdict(connector: Any, error: Exception, phase: Phase, in_recovery: bool = False) -> Verdict:
    fault: Fault | None = connector.fault(error) or network_fault(error)
    assert fault is not None
    return classify(fault, phase, lease="read", in_recovery=in_recovery)


async def failure_of(work: Awaitable[Any]) -> Exception:
    with pytest.raises(Exception) as caught:
        await work
    return caught.value


async def test_a_connection_asks_executes_and_fetches(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make)
    conn = await connector.open(TIMEOUT_S)
    try:
        seen = read_observation(await connector.one_row(conn, OBSERVE_SQL), 1.0, 2.0)
        assert (seen.role, seen.timeline) == (Role.PRIMARY, 1)
        assert seen.insert_lsn is not None
        assert [tuple(row) for row in await connector.fetch(conn, "select 1, 'a' where true", ())] == [
            (1, "a")
        ]
        assert await connector.fetch(conn, "set application_name = 'x'", ()) == []
        assert await connector.execute(conn, "create temp table t (i int)", ()) == "CREATE TABLE"
        assert connector.is_idle(conn)
    finally:
        await connector.close(conn)
    assert not connector.is_idle(conn)


async def test_a_replica_tells_its_replay_position(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make, "replica-1")
    conn = await connector.open(TIMEOUT_S)
    seen = read_observation(await connector.one_row(conn, OBSERVE_SQL), 1.0, 2.0)
    assert (seen.role, seen.insert_lsn) == (Role.REPLICA, None)
    assert seen.replay_lsn is not None
    await connector.close(conn)


async def test_transactions_commit_and_roll_back(make: Make, fleet: LocalFleet) -> None:
    fleet.sql("primary", "drop table if exists kept; create table kept (i int)")
    connector = to(fleet, make)
    conn = await connector.open(TIMEOUT_S)
    for end in (connector.commit, connector.rollback):
        transaction = await connector.begin(conn, read_only=False)
        await connector.execute(conn, "insert into kept values (1)", ())
        assert not connector.is_idle(conn)
        await end(transaction)
        await connector.reset(conn)
        assert connector.is_idle(conn)
    assert fleet.sql("primary", "select count(*) from kept") == [("1",)]
    await connector.close(conn)


async def test_a_read_transaction_sees_one_moment_and_takes_no_writes(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make)
    conn = await connector.open(TIMEOUT_S)
    transaction = await connector.begin(conn, read_only=True)
    [row] = await connector.fetch(
        conn, "select current_setting('transaction_isolation'), current_setting('transaction_read_only')", ()
    )
    assert tuple(row) == ("repeatable read", "on")
    await connector.rollback(transaction)
    await connector.reset(conn)
    [row] = await connector.fetch(conn, "select current_setting('transaction_read_only')", ())
    assert tuple(row) == ("off",)
    await connector.close(conn)


async def test_reset_takes_back_what_a_session_holds(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make)
    conn = await connector.open(TIMEOUT_S)
    await connector.fetch(conn, "select set_config('app.org_id', '7', false), pg_advisory_lock(42)", ())
    await connector.reset(conn)
    [row] = await connector.fetch(
        conn,
        "select current_setting('app.org_id', true), (select count(*) from pg_locks"
        " where locktype = 'advisory' and pid = pg_backend_pid())",
        (),
    )
    assert tuple(row) in ((None, 0), ("", 0))
    await connector.close(conn)


async def test_a_severed_connection_fails_whoever_waits_on_it(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make)
    conn = await connector.open(TIMEOUT_S)
    if make is PsycopgConnector:
        timer: Any = threading.Timer(0.2, connector.sever, (conn,))
        timer.start()
    else:
        timer = asyncio.get_running_loop().call_later(0.2, connector.sever, conn)
    error = await failure_of(connector.fetch(conn, "select pg_sleep(60)", ()))
    assert verdict(connector, error, Phase.STATEMENT) is Verdict.UNREACHABLE
    assert not connector.is_idle(conn)
    connector.drop(conn)
    timer.cancel()


async def test_a_connection_that_the_server_ended_is_not_idle(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make)
    conn = await connector.open(TIMEOUT_S)
    [row] = await connector.fetch(conn, "select pg_backend_pid()", ())
    fleet.sql("primary", f"select pg_terminate_backend({row[0]})")
    for _ in range(500):
        if not connector.is_idle(conn):
            break
        await asyncio.sleep(0.01)
    assert not connector.is_idle(conn)
    connector.drop(conn)


@pytest.mark.parametrize(
    ("sql", "options", "wanted"),
    [
        ("selec 1", {}, Verdict.QUERY),
        ("select 1/0", {}, Verdict.QUERY),
        ("select pg_sleep(60)", {"statement_timeout_s": 0.1}, Verdict.QUERY),
        ("create table nowhere (i int)", {"read_only": True}, Verdict.READ_ONLY),
        ("do $$ begin raise sqlstate '40001'; end $$", {}, Verdict.QUERY),
    ],
    ids=["syntax", "division", "timeout", "read only", "serialization on a primary"],
)
async def test_the_callers_errors_are_the_callers(
    make: Make, fleet: LocalFleet, sql: str, options: dict[str, Any], wanted: Verdict
) -> None:
    connector = to(fleet, make, **options)
    conn = await connector.open(TIMEOUT_S)
    error = await failure_of(connector.fetch(conn, sql, ()))
    assert verdict(connector, error, Phase.STATEMENT) is wanted
    assert connector.is_idle(conn)
    await connector.close(conn)


async def test_a_conflict_with_replay_is_told_from_the_callers_own(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make, "replica-1")
    conn = await connector.open(TIMEOUT_S)
    error = await failure_of(connector.fetch(conn, "do $$ begin raise sqlstate '40001'; end $$", ()))
    assert verdict(connector, error, Phase.STATEMENT, in_recovery=True) is Verdict.CONFLICT
    await connector.close(conn)


async def test_a_server_killed_in_mid_statement_is_unreachable(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make, "replica-3")
    conn = await connector.open(TIMEOUT_S)
    killer = threading.Thread(target=_kill_when_busy, args=(fleet, "replica-3"))
    killer.start()
    error = await failure_of(connector.fetch(conn, "select pg_sleep(60)", ()))
    killer.join()
    assert verdict(connector, error, Phase.STATEMENT) is Verdict.UNREACHABLE
    assert connector.lost_with(conn, error)
    refused = await failure_of(connector.open(TIMEOUT_S))
    assert verdict(connector, refused, Phase.CONNECT) is Verdict.UNREACHABLE
    connector.drop(conn)
    fleet.start("replica-3")


def _kill_when_busy(fleet: LocalFleet, name: str) -> None:
    busy = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'"
    eventually(lambda: fleet.sql(name, busy) == [("1",)])
    fleet.kill(name)


@pytest.mark.parametrize(
    ("find", "replacement"),
    [("pgfleet:", "pgfleet:not-"), ("/postgres", "/no_such_database")],
    ids=["password", "database"],
)
async def test_a_login_that_is_refused_is_a_matter_of_configuration(
    make: Make, fleet: LocalFleet, find: str, replacement: str
) -> None:
    dsn = fleet.dsn("primary")
    assert find in dsn
    connector = make(SessionSettings(Dsn.parse(dsn.replace(find, replacement, 1))))
    error = await failure_of(connector.open(TIMEOUT_S))
    assert verdict(connector, error, Phase.PROBE) is Verdict.CONFIG
    password = Dsn.parse(dsn).password
    assert password is not None
    assert password.reveal() not in str(error)


async def test_an_error_of_the_caller_is_no_fault(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make)
    assert connector.fault(ValueError("the caller's")) is None
    assert connector.fault(FileNotFoundError("the caller's")) is None


async def test_the_password_is_asked_at_each_connect(make: Make, fleet: LocalFleet) -> None:
    dsn = Dsn.parse(fleet.dsn("primary"))
    assert dsn.password is not None
    asked: list[int] = []

    def password() -> str:
        asked.append(1)
        assert dsn.password is not None
        return dsn.password.reveal()

    connector = make(SessionSettings(dsn, password))
    for _ in range(2):
        await connector.close(await connector.open(TIMEOUT_S))
    assert len(asked) == 2


async def test_a_connection_that_the_server_ended_is_known_to_be_gone(make: Make, fleet: LocalFleet) -> None:
    """Without a question to the server, and inside a transaction too."""
    connector = to(fleet, make)
    conn = await connector.open(TIMEOUT_S)
    transaction = await connector.begin(conn, read_only=False)
    [(pid,)] = [tuple(row) for row in await connector.fetch(conn, "select pg_backend_pid()", ())]
    assert not connector.is_gone(conn)
    fleet.sql("primary", f"select pg_terminate_backend({pid}, 5000)")
    await _becomes(lambda: connector.is_gone(conn))
    error = await failure_of(connector.fetch(conn, "select 1", ()))
    assert connector.lost_with(conn, error)
    assert not connector.lost_with(conn, ValueError("the caller's own"))
    assert not connector.may_have_committed(transaction)
    connector.drop(conn)


async def test_the_end_of_another_connection_is_none_of_this_one(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make)
    conn, other = await connector.open(TIMEOUT_S), await connector.open(TIMEOUT_S)
    connector.sever(other)
    error = await failure_of(connector.fetch(other, "select 1", ()))
    assert connector.lost_with(other, error)
    assert not connector.lost_with(conn, error)
    assert [tuple(row) for row in await connector.fetch(conn, "select 1", ())] == [(1,)]
    connector.drop(conn)
    connector.drop(other)


async def test_an_error_of_the_sql_is_no_lost_connection(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make)
    conn = await connector.open(TIMEOUT_S)
    error = await failure_of(connector.fetch(conn, "select 1/0", ()))
    assert not connector.lost_with(conn, error)
    assert not connector.is_gone(conn)
    await connector.close(conn)
    assert connector.is_gone(conn)


async def _becomes(condition: Callable[[], bool]) -> None:
    """Wait for it, while the event loop hears what arrives."""

    async def met() -> bool:
        return condition()

    await eventually_async(met)


async def test_what_is_abandoned_fails_at_once_and_the_server_stops(make: Make, fleet: LocalFleet) -> None:
    connector = to(fleet, make)
    conn = await connector.open(TIMEOUT_S)
    if make is PsycopgConnector:
        await asyncio.to_thread(_abandon_in_thread, connector, conn, fleet)
    else:
        task = asyncio.ensure_future(connector.fetch(conn, SLEEP, ()))
        await asyncio.to_thread(eventually, lambda: _sleeps(fleet))
        task.cancel()
        await asyncio.wait([task])
        telling = connector.abandon(conn)
        connector.drop(conn)
        await telling
    assert not connector.is_idle(conn)
    await asyncio.to_thread(eventually, lambda: not _sleeps(fleet))


SLEEP = "select pg_sleep(300), 'to be abandoned'"


def _sleeps(fleet: LocalFleet) -> bool:
    sql = "select 1 from pg_stat_activity where state = 'active' and query like 'select pg_sleep(300)%'"
    return bool(fleet.sql("primary", sql))


def _abandon_in_thread(connector: Any, conn: Any, fleet: LocalFleet) -> None:
    failed: list[Exception] = []

    def run() -> None:
        try:
            drive(connector.fetch(conn, SLEEP, ()))
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: _sleeps(fleet))
    telling = connector.abandon(conn)
    thread.join(TIMEOUT_S)
    assert len(failed) == 1
    connector.drop(conn)
    drive(telling)
