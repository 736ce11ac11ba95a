"""The verdict of `leaves_session_alone`, held against servers: PostgreSQL says what a statement leaves behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgfleet.core import statement
from pgfleet.core.statement import leaves_session_alone
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually

SCHEMA = """
    create table hotel (id int primary key, org_id int, name text, tags text[], facts jsonb);
    create table room (id int primary key, hotel_id int references hotel, number text, price_cents bigint, day date);
    create type address as (street text, city text);
    insert into hotel select n, n % 7, 'hotel ' || n, array['sea', 'spa'], '{"stars": 4}' from generate_series(1, 20) n;
    insert into room select n, 1 + n % 20, n::text, n * 100, '2026-01-01'::date + n from generate_series(1, 200) n;
    create function tenant() returns text language sql as $$ select set_config('app.org_id', '7', false) $$;
    create view no_room as select * from room where id < 0;
    create view as_tenant as select tenant();
"""

STATE = """
    select json_build_object(
        'tenant', nullif(current_setting('app.org_id', true), ''),
        'settings', (select json_object_agg(name, setting order by name) from pg_settings where source = 'session'),
        'role', current_user,
        'locks', (select json_agg((classid, objid, mode) order by classid, objid) from pg_locks
                  where locktype = 'advisory' and pid = pg_backend_pid()),
        'prepared', (select json_agg(name order by name) from pg_prepared_statements),
        'cursors', (select json_agg(name order by name) from pg_cursors where name <> ''),
        'channels', (select json_agg(channel) from pg_listening_channels() channel),
        'temporary', (select json_agg(relname order by relname) from pg_class where relnamespace = pg_my_temp_schema()))
"""

HARMLESS = [
    "select 1;",
    "values (1, 'a'), (2, 'b')",
    "table room",
    "(select id from room where id < 3) union all (select id from hotel where id < 3) order by 1",
    "select h.name, count(*) as n from hotel h join room r on r.hotel_id = h.id group by h.name having count(*) > 3",
    "with cheap as (select * from room where price_cents < 900) select * from cheap where id in (select id from hotel)",
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 9) select sum(i) from n",
    "with a as materialized (select 1 as x), b as not materialized (select 2 as x) select * from a, b",
    "select rank() over (partition by hotel_id order by day), lag(id) over w from room window w as (order by id)",
    "select count(*) filter (where id > 5), percentile_cont(0.5) within group (order by price_cents) from room",
    "select hotel_id, day, sum(price_cents) from room group by grouping sets ((hotel_id), (day), ()) limit 5",
    "select coalesce(name, ''), nullif(org_id, 3), case when (org_id > 3) then (1) else (2) end from hotel",
    "select extract(epoch from now()), cast(1.234 as numeric(4, 2)), 'x'::varchar(10), timestamp(3) '2026-01-01'",
    "select name, tags[1], tags[1:2], facts->>'stars', facts @> '{\"stars\": 4}' from hotel where tags && array['sea']",
    "select distinct on (hotel_id) * from room order by hotel_id, day desc nulls last fetch first 3 rows only",
    "select t.n, t.i from unnest(array['a', 'b']) with ordinality as t(n, i)",
    "select * from jsonb_to_record('{\"a\": 1}') as r(a int)",
    "select * from hotel h, lateral (select max(day) from room r where r.hotel_id = h.id) as last(day) limit 3",
    "select (('Quay', 'Cork')::address).*",
    "select pg_catalog.lower(name), Upper (name), overlay('abc' placing 'x' from 2) from hotel",
    "select 'it''s', E'it\\'s; ''', $$ set_config('app.org_id', '7', false) $$, $q$ ' \" $$ $q$, '\\d+', B'101', N'n'",
    "select 1 as \"set_config\" -- , set_config('app.org_id', '7', false)",
    "select 1 /* ', set_config('app.org_id', '7', false) */ + 1",
    "select current_setting('app.org_id', true), current_user, version(), pg_is_in_recovery(), pg_backend_pid()",
    "select random(), gen_random_uuid(), clock_timestamp(), timeofday(), pg_sleep(0), md5('x'), to_char(now(), 'YYYY')",
    "select pg_size_pretty(pg_total_relation_size('room')), to_regclass('room'), format('%s %I', 1, 'a b')",
    "select to_tsvector('english', 'the sea') @@ to_tsquery('sea'), ts_headline('the sea', 'sea'::tsquery)",
    "select * from pg_settings where name = 'work_mem'",
    "select json_agg(h), jsonb_build_object('n', count(*)), string_agg(name, ', ' order by name) from hotel h",
    "select name from hotel where name like 'hotel 1%' and id = any(array[1, 10]) and not exists (table no_room)",
]

LEAKS = [
    "select set_config('app.org_id', '7', false)",
    "select Set_Config /* */ ('app.org_id', '7', false)",
    "select set_config -- '\n ('app.org_id', '7', false)",
    "select pg_catalog . set_config('app.org_id', '7', false)",
    "select \"set_config\"('app.org_id', '7', false)",
    "select U&\"set_confi\\0067\"('app.org_id', '7', false)",
    "select * from hotel where id = 1 and set_config('app.org_id', '7', false) = '7'",
    "select distinct on (id) set_config('app.org_id', '7', false) from hotel",
    "with x as (select set_config('app.org_id', '7', false)) select * from x",
    "with x as materialized (select 1) select (select set_config('app.org_id', '7', false)) from x",
    "values (set_config('app.org_id', '7', false))",
    "select * from set_config('app.org_id', '7', false)",
    "select case when true then set_config('app.org_id', '7', false) end",
    "select ts_rewrite('a'::tsquery, 'select ''a''::tsquery, ''b''::tsquery from pg_advisory_lock(1)')",
    "select tenant()",
    "select public.tenant()",
    "select 1; set app.org_id = '7'",
    "select 1; prepare p as select 1",
    "select 1; declare c cursor with hold for select 1",
    "select pg_advisory_lock(7)",
    "select pg_try_advisory_lock_shared(7)",
    "select (7).pg_advisory_lock",
    "select (array[7])[1] . pg_advisory_lock",
    "select x[1].pg_advisory_lock from (select array[7]) t(x)",
    "select 1 -- \r, pg_advisory_lock(7)",
    "select 1 /* /* */ ' */, pg_advisory_lock(7) /* ' /* */ */",
    "select $a$ $A$ || ' $a$, pg_advisory_lock(7) -- '",
    "select E'a'\n'b\\'', pg_advisory_lock(7) -- '",
    "set standard_conforming_strings = off; select '\\'', pg_advisory_lock(7) --'",
]
LEAKS_ON_THE_PRIMARY = [
    "select * into temp t from hotel",
    "with x as (select 1) select * into temporary table t from x",
]

CALLS_WITHOUT_A_ROW_IN_PG_PROC = """
    cast coalesce extract greatest grouping json json_array json_arrayagg json_exists json_object_agg json_objectagg
    json_query json_scalar json_serialize json_table json_value least columns nullif treat trim xmlattributes xmlconcat
    xmlelement xmlforest xmlparse xmlpi xmlroot xmlserialize xmltable
"""

VOLATILE_AND_HARMLESS = {
    *("random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "array_sample", "array_shuffle"),
    *("clock_timestamp", "timeofday", "pg_sleep", "currval", "lastval", "pg_blocking_pids"),
    *("pg_database_size", "pg_indexes_size", "pg_relation_size", "pg_table_size", "pg_total_relation_size"),
    *("pg_current_wal_flush_lsn", "pg_current_wal_insert_lsn", "pg_current_wal_lsn", "pg_is_in_recovery"),
    *(
        "pg_is_wal_replay_paused",
        "pg_last_wal_receive_lsn",
        "pg_last_wal_replay_lsn",
        "pg_last_xact_replay_timestamp",
    ),
}


class Bench:
    """One session that runs texts as they are, by the simple protocol, and tells what it has become."""

    def __init__(self, dsn: str) -> None:
        self._conn = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)

    def close(self) -> None:
        self._conn.close()

    def run(self, sql: str) -> str | None:
        """Run a text; the SQLSTATE of what went wrong."""
        result = self._conn.pgconn.exec_(sql.encode())
        code = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
        return code.decode() if code else None

    def state(self) -> Any:
        """All that a borrower could leave behind in the session, and the state of its transaction."""
        row = self._conn.execute(STATE).fetchone()
        assert row
        return row[0], self._conn.info.transaction_status

    def clean(self) -> None:
        """A session as new."""
        self.run("rollback")
        assert self.run("discard all") is None


@pytest.fixture(scope="module")
def benches(any_fleet: LocalFleet) -> Iterator[dict[str, Bench]]:
    """A session on the primary and one on a replica of it, with something to read."""
    any_fleet.sql(any_fleet.primary, SCHEMA)
    eventually(lambda: any_fleet.sql("replica-1", "select to_regclass('as_tenant')") == [("as_tenant",)])
    benches = {name: Bench(any_fleet.dsn(name)) for name in ("primary", "replica-1")}
    yield benches
    for bench in benches.values():
        bench.close()


@pytest.fixture(params=["primary", "replica-1"])
def bench(request: pytest.FixtureRequest, benches: dict[str, Bench]) -> Iterator[Bench]:
    """A clean session on either of them."""
    bench = benches[request.param]
    bench.clean()
    yield bench
    bench.clean()


@pytest.mark.parametrize("sql", HARMLESS)
def test_what_needs_no_reset_leaves_nothing_behind(bench: Bench, sql: str) -> None:
    assert leaves_session_alone(sql)
    before = bench.state()
    assert bench.run(sql) is None
    assert bench.state() == before


@pytest.mark.parametrize("sql", LEAKS)
def test_what_is_known_to_leak_does_leak_and_is_reset(bench: Bench, sql: str) -> None:
    assert not leaves_session_alone(sql)
    before = bench.state()
    assert bench.run(sql) is None
    assert bench.state() != before


@pytest.mark.parametrize("sql", LEAKS_ON_THE_PRIMARY)
def test_a_temporary_table_is_reset(benches: dict[str, Bench], sql: str) -> None:
    bench = benches["primary"]
    bench.clean()
    before = bench.state()
    assert not leaves_session_alone(sql)
    assert bench.run(sql) is None
    assert bench.state() != before


def test_what_the_text_cannot_show_is_not_seen(bench: Bench) -> None:
    """The limit that the docstring tells: a view may call what it likes."""
    before = bench.state()
    assert leaves_session_alone("select * from as_tenant")
    assert bench.run("select * from as_tenant") is None
    assert bench.state() != before


def test_every_function_on_the_list_is_postgresqls_and_changes_nothing(any_fleet: LocalFleet) -> None:
    listed = statement._FUNCTIONS | statement._NOT_CALLS
    rows = any_fleet.sql(
        any_fleet.primary,
        "select proname, bool_or(provolatile = 'v') from pg_proc"
        " where pronamespace = 'pg_catalog'::regnamespace group by 1",
    )
    volatile = {name: answer == "t" for name, answer in rows}
    assert {name for name in listed if volatile.get(name)} <= VOLATILE_AND_HARMLESS
    if int(any_fleet.postgresql.split(".")[0]) >= 18:
        unknown = {name for name in statement._FUNCTIONS if name not in volatile}
        assert unknown <= set(CALLS_WITHOUT_A_ROW_IN_PG_PROC.split())


# A text is put together from pieces on which lexers stumble, around a call that leaks when the server sees it.
PIECES = [
    *("'", "'", "'", "''", '"', "\\'", "\\", "e'", "E'", "u&'", 'U&"', "$$", "$a$", "$A$", "--", "/*", "*/"),
    *("1", "1e", "\n", "\r", ",", ",", "||", " "),
]
CALLS = [
    "pg_advisory_lock(1)",
    "(1).pg_advisory_lock",
    "pg_advisory_lock/**/(1)",
    'U&"pg_\\0061dvisory_lock"(1)',
]
ENDS = [",", "\n", " "]
TEXTS = 30_000


def stumbling_text(chance: random.Random) -> str:
    before, after = ("".join(chance.choices(PIECES, k=chance.randint(0, 5))) for _ in range(2))
    return (
        f"select {before}{chance.choice([',', '||', ''])}{chance.choice(CALLS)}{chance.choice(ENDS)}{after}"
    )


@pytest.mark.parametrize("conforming", ["on", "off"])
def test_no_call_hides_from_the_lexer(benches: dict[str, Bench], conforming: str) -> None:
    chance = random.Random(20_260)
    bench = benches["replica-1"]
    bench.clean()
    bench.run(f"set standard_conforming_strings = {conforming}")
    before, executed = bench.state(), 0
    for sql in filter(leaves_session_alone, (stumbling_text(chance) for _ in range(TEXTS))):
        executed += bench.run(sql) is None
        assert bench.state() == before, sql
    assert executed > 100
