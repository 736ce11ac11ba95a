"""What a caller leaves in a session never reaches the next borrower, and no dead connection is lent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgfleet.local import LocalFleet
from tests.faces import FACES, Conn, Face, Router, aside, environ, sqlstate

EACH = pytest.mark.parametrize("face", FACES, ids=str)
ON_PSYCOPG = pytest.mark.parametrize("face", [face for face in FACES if face.driver == "psycopg"], ids=str)
WHERE = pytest.mark.parametrize("prefer_replica", [True, False], ids=["replica", "primary"])
TENANT = "select coalesce(current_setting('app.org_id', true), '')"
SET_TENANT = "select set_config('app.org_id', '7', false)"


@asynccontextmanager
async def narrow(face: Face, fleet: LocalFleet) -> AsyncIterator[Router]:
    """A router with one connection for reads of the replica and one for those of the primary: all borrow the same."""
    settings = environ(
        fleet,
        READ_REPLICA_1_MAX_CONNECTIONS="1",
        READ_REPLICA_2_CONNECTION_STRING=None,
        READ_REPLICA_2_MIN_CONNECTIONS=None,
        READ_REPLICA_3_CONNECTION_STRING=None,
        READ_REPLICA_3_MIN_CONNECTIONS=None,
        DB_MAX_CONNECTIONS="2",
        PGFLEET_FALLBACK_SHARE="0.5",
        DB_CONNECTION_TIMEOUT="5s",
    )
    async with face.open(settings) as router:
        yield router


async def leave_tenant(conn: Conn) -> None:
    await conn.rows(SET_TENANT)


async def leave_settings(conn: Conn) -> None:
    await conn.rows("set statement_timeout = '1234ms'")
    await conn.rows("set search_path = nowhere")
    await conn.rows("set timezone = 'Asia/Tokyo'")


async def leave_lock(conn: Conn) -> None:
    await conn.rows("select pg_advisory_lock(42)")


async def leave_cursor(conn: Conn) -> None:
    await conn.rows("begin")
    await conn.rows("declare kept cursor with hold for select 1")
    await conn.rows("commit")


async def leave_transaction(conn: Conn) -> None:
    await conn.rows("begin")
    await conn.rows(SET_TENANT)


async def leave_failed_transaction(conn: Conn) -> None:
    await conn.rows(SET_TENANT)
    await conn.rows("begin")
    with suppress(Exception):
        await conn.rows("select 1/0")


async def leave_by_a_do_block(conn: Conn) -> None:
    await conn.rows("do $$ begin perform set_config('app.org_id', '7', false); end $$")


async def leave_session_user(conn: Conn) -> None:
    await conn.rows("set session authorization app")


async def leave_role(conn: Conn) -> None:
    await conn.rows("set role pg_monitor")


STATE = """
select coalesce(current_setting('app.org_id', true), ''),
       current_setting('statement_timeout'), current_setting('search_path'), current_setting('timezone'), current_user,
       (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
       (select count(*) from pg_cursors where name = 'kept'),
       (select count(*) from pg_listening_channels()),
       current_setting('transaction_isolation'), current_setting('transaction_read_only')
"""


@EACH
@WHERE
@pytest.mark.parametrize(
    "leave",
    [
        leave_tenant, leave_settings, leave_lock, leave_cursor, leave_transaction, leave_failed_transaction,
        leave_by_a_do_block, leave_role, leave_session_user,
    ],
    ids=lambda leave: leave.__name__.removeprefix("leave_"),
)  # fmt: skip
async def test_nothing_of_a_session_reaches_the_next_borrower(
    face: Face, fleet: LocalFleet, prefer_replica: bool, leave: Callable[[Conn], Awaitable[None]]
) -> None:
    async with narrow(face, fleet) as router:
        async with router.read(prefer_replica=prefer_replica) as conn:
            clean, backend = (await conn.rows(STATE))[0], await conn.value("select pg_backend_pid()")
        async with router.read(prefer_replica=prefer_replica) as conn:
            assert await conn.value("select pg_backend_pid()") == backend
            await leave(conn)
        async with router.read(prefer_replica=prefer_replica) as conn:
            assert (await conn.rows(STATE))[0] == clean


@EACH
async def test_nothing_of_a_write_reaches_the_next_borrower(face: Face, fleet: LocalFleet) -> None:
    async with narrow(face, fleet) as router:
        for leave in (leave_tenant, leave_settings, leave_lock, leave_role):
            async with router.write() as conn:
                await conn.rows("create temporary table basket (id int)")
                await leave(conn)
                await conn.rows("listen news")
            async with router.write() as conn:
                state = (await conn.rows(STATE))[0]
            assert state[0] == ""
            assert state[1] == "1min"
            assert state[4:8] == ("pgfleet", 0, 0, 0)


@EACH
@WHERE
@pytest.mark.parametrize(
    "sql",
    [
        SET_TENANT,
        "select 1 from (select set_config('app.org_id', '7', false)) x",
        "with x as (select set_config('app.org_id', '7', false)) select * from x",
        "set app.org_id = '7'",
        "select pg_catalog.set_config('app.org_id', '7', false)",
        "select 1, set_config  /* no */ ('app.org_id', '7', false)",
        "select \"set_config\"('app.org_id', '7', false)",
        "set session app.org_id to '7'",
        "do $$ begin perform set_config('app.org_id', '7', false); end $$",
    ],
)
async def test_a_tenant_set_by_fetch_is_gone(
    face: Face, fleet: LocalFleet, prefer_replica: bool, sql: str
) -> None:
    async with narrow(face, fleet) as router:
        await router.value("select 1", prefer_replica=prefer_replica)
        await router.fetch(sql, prefer_replica=prefer_replica)
        assert await router.value(TENANT, prefer_replica=prefer_replica) == ""
        async with router.read(prefer_replica=prefer_replica) as conn:
            assert await conn.value(TENANT) == ""


@EACH
async def test_a_tenant_set_by_run_read_is_gone(face: Face, fleet: LocalFleet) -> None:
    async with narrow(face, fleet) as router:
        await router.run_read(leave_tenant)
        assert await router.value(TENANT) == ""


@EACH
async def test_a_tenant_set_in_a_read_transaction_is_gone(face: Face, fleet: LocalFleet) -> None:
    async with narrow(face, fleet) as router:
        async with router.read(transaction=True) as conn:
            await leave_tenant(conn)
        assert await router.value(TENANT) == ""
        async with router.read(transaction=True) as conn:
            await conn.rows("select 1")
        async with router.read() as conn:
            state = (await conn.rows(STATE))[0]
        assert state[8:] == ("read committed", "on")  # a standby reads only


@EACH
async def test_a_tenant_set_by_execute_is_gone(face: Face, fleet: LocalFleet) -> None:
    async with narrow(face, fleet) as router:
        await router.execute(SET_TENANT)
        async with router.write() as conn:
            assert await conn.value(TENANT) == ""


# ways around the product's own cursors


async def by_cursor(face: Face, conn: Any) -> None:
    await face.call(conn.cursor().execute, SET_TENANT)


async def by_client_cursor(face: Face, conn: Any) -> None:
    kind = psycopg.ClientCursor if face.threaded else psycopg.AsyncClientCursor
    await face.call(kind(conn).execute, SET_TENANT)


async def by_plain_cursor(face: Face, conn: Any) -> None:
    kind = psycopg.Cursor if face.threaded else psycopg.AsyncCursor
    await face.call(kind(conn).execute, SET_TENANT)


async def by_another_cursor_factory(face: Face, conn: Any) -> None:
    conn.cursor_factory = psycopg.ClientCursor if face.threaded else psycopg.AsyncClientCursor
    await face.call(conn.execute, SET_TENANT)


async def by_server_cursor(face: Face, conn: Any) -> None:
    async with face.entered(conn.cursor(name="far", withhold=True)) as cursor:
        await face.call(cursor.execute, SET_TENANT)
        await face.call(cursor.fetchall)


async def by_copy(face: Face, conn: Any) -> None:
    if face.threaded:
        with conn.cursor().copy(f"copy ({SET_TENANT}) to stdout") as copy:
            list(copy)
    else:
        async with conn.cursor().copy(f"copy ({SET_TENANT}) to stdout") as copy:
            [_ async for _ in copy]


async def by_pipeline(face: Face, conn: Any) -> None:
    async with face.entered(conn.pipeline()):
        await face.call(conn.execute, SET_TENANT)


async def by_transaction_block(face: Face, conn: Any) -> None:
    async with face.entered(conn.transaction()):
        await face.call(conn.execute, SET_TENANT)


async def by_composed_sql(face: Face, conn: Any) -> None:
    await face.call(conn.execute, psycopg.sql.SQL(SET_TENANT))


async def by_bytes(face: Face, conn: Any) -> None:
    await face.call(conn.execute, SET_TENANT.encode())


async def by_executemany(face: Face, conn: Any) -> None:
    await face.call(conn.cursor().executemany, "select set_config('app.org_id', %s, false)", [("6",), ("7",)])


@ON_PSYCOPG
@pytest.mark.parametrize(
    "leave",
    [
        by_cursor, by_client_cursor, by_plain_cursor, by_another_cursor_factory, by_server_cursor, by_copy, by_pipeline,
        by_transaction_block, by_composed_sql, by_bytes, by_executemany,
    ],
    ids=lambda leave: leave.__name__,
)  # fmt: skip
async def test_no_way_of_talking_passes_by_unseen(
    face: Face, fleet: LocalFleet, leave: Callable[[Face, Any], Awaitable[None]]
) -> None:
    async with narrow(face, fleet) as router:
        await router.value("select 1")
        async with router.read() as conn:
            await leave(face, conn.raw)
        assert await router.value(TENANT) == ""
        async with router.read() as conn:
            assert await conn.value(TENANT) == ""


@ON_PSYCOPG
async def test_what_is_set_on_the_connection_object_is_taken_back(face: Face, fleet: LocalFleet) -> None:
    async with narrow(face, fleet) as router:
        async with router.read() as conn:
            raw: Any = conn.raw
            before = (raw.cursor_factory, raw.server_cursor_factory, raw.row_factory, raw.autocommit)
        async with router.read() as conn:
            raw = conn.raw
            raw.row_factory = dict_row
            raw.cursor_factory = psycopg.ClientCursor if face.threaded else psycopg.AsyncClientCursor
            await _set_autocommit(face, raw, False)
            await conn.rows("select 1")
        assert tuple((await router.fetch("select 1, 2"))[0]) == (1, 2)
        async with router.read() as conn:
            raw = conn.raw
            now = (raw.cursor_factory, raw.server_cursor_factory, raw.row_factory, raw.autocommit)
            assert now == before
            assert raw.isolation_level is None
            assert raw.read_only is None


async def _set_autocommit(face: Face, raw: Any, value: bool) -> None:
    if face.threaded:
        raw.autocommit = value
    else:
        await raw.set_autocommit(value)


END_CLIENTS = """
select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
where pid <> pg_backend_pid() and backend_type = 'client backend'
"""


# broken, dead and dirty connections


@EACH
async def test_a_connection_that_the_caller_closed_is_replaced(face: Face, fleet: LocalFleet) -> None:
    async with narrow(face, fleet) as router:
        for lease in (router.read, router.write):
            for transaction in (None, True):
                options: dict[str, Any] = {} if transaction is None else {"transaction": transaction}
                with suppress(Exception):  # the transaction that could not be ended says so
                    async with lease(**options) as conn:
                        await conn.rows("select 1")
                        await conn.close()
                async with lease(**options) as conn:
                    assert await conn.value("select 1") == 1
        assert router.raw.is_healthy("replica-1")
        assert router.open_connections() <= 3


@EACH
async def test_a_transaction_left_open_is_rolled_back(face: Face, fleet: LocalFleet) -> None:
    fleet.sql("primary", "create table if not exists left_open (id int)")
    async with narrow(face, fleet) as router:
        async with router.write(transaction=False) as conn:
            await conn.rows("begin")
            await conn.rows("insert into left_open values (1)")
        async with router.write() as conn:
            assert await conn.value("select count(*) from left_open") == 0


@EACH
async def test_a_callers_own_error_keeps_the_connection(face: Face, fleet: LocalFleet) -> None:
    async with narrow(face, fleet) as router:
        async with router.read() as conn:
            backend = await conn.value("select pg_backend_pid()")
        for error in (ValueError("x"), OSError("a file"), TimeoutError("a page")):
            with pytest.raises(type(error)):
                async with router.read():
                    raise error
            assert await router.value("select pg_backend_pid()") == backend
        for sql in ("select 1/0", "selec"):
            with pytest.raises(Exception, match=r"zero|syntax"):
                await router.fetch(sql)
            assert await router.value("select pg_backend_pid()") == backend
        assert router.raw.is_healthy("replica-1")


@pytest.mark.parametrize("face", [face for face in FACES if not face.threaded], ids=str)
async def test_a_cancelled_statement_meets_nobody(face: Face, fleet: LocalFleet) -> None:
    async def slow() -> None:
        async with asyncio.timeout(0.1), router.read() as conn:
            await conn.rows("select pg_sleep(20)")

    async with narrow(face, fleet) as router:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await slow()
            assert await router.value("select 42") == 42
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await router.fetch("select pg_sleep(20)")
        assert await router.value("select 42") == 42
        assert router.raw.is_healthy("replica-1")
        assert router.open_connections() <= 2


@EACH
async def test_a_statement_that_the_server_ended_is_the_callers(face: Face, fleet: LocalFleet) -> None:
    async with narrow(face, fleet) as router:
        async with router.read() as conn:
            backend = await conn.value("select pg_backend_pid()")
            with pytest.raises(Exception, match="statement timeout") as caught:
                await _sleep_too_long(conn)
        assert sqlstate(caught.value) == "57014"
        assert await router.value("select pg_backend_pid()") == backend
        assert await router.value("show statement_timeout") == "1min"


async def _sleep_too_long(conn: Conn) -> None:
    await conn.rows("set statement_timeout = '50ms'")
    await conn.rows("select pg_sleep(20)")


@EACH
async def test_connections_of_an_earlier_life_of_a_standby_are_never_lent(
    face: Face, fleet: LocalFleet
) -> None:
    async with narrow(face, fleet) as router:
        for _ in range(2):
            async with router.read() as conn:
                assert await conn.value("select 1") == 1
            await aside(fleet.restart, "replica-1")
            for _ in range(5):
                async with router.read() as conn:
                    assert await conn.value("select 1") == 1
                async with router.read(transaction=True) as conn:
                    assert await conn.value("select 1") == 1


@EACH
async def test_a_connection_that_an_administrator_ended_is_replaced(face: Face, fleet: LocalFleet) -> None:
    async with narrow(face, fleet) as router:
        for _ in range(3):
            await router.value("select 1")
            async with router.write() as conn:
                await conn.rows("select 1")
            for name in ("replica-1", "primary"):
                assert await aside(fleet.sql, name, END_CLIENTS) > [("0",)]
            async with router.read() as conn:
                assert await conn.value("select 1") == 1
            async with router.write() as conn:
                assert await conn.value("select 1") == 1
