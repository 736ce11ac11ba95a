from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core import statement
from pgfleet.core.statement import MAX_CACHED_VERDICTS, MAX_STATEMENT_CHARS, leaves_session_alone

SAFE = [
    "select 1",
    "SELECT 1;",
    "select 1 ; ;  -- done\n /* really */ ",
    " \t\r\n\f(select 1)",
    "((select 1) union all (select 2)) order by 1",
    "values (1, 'a'), (2, 'b')",
    "table room",
    "select id, name from room where hotel_id = $1 and price_cents between $2 and $3 order by id limit 20 offset 0",
    "select * from room where hotel_id = %s and name like %(name)s",
    "select %s::int, %(day)s::date, %b, 5 %% 3",
    "with busy as (select room_id from booking) select * from room where id in (select room_id from busy)",
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 9) select sum(i) from n",
    "with a as materialized (select 1), b as not materialized (select 2) select * from a, b",
    "select count(*), count(distinct hotel_id) filter (where price_cents > 0) from room",
    "select rank() over (partition by a order by b), lag(id) over w from room window w as (partition by a)",
    "select coalesce(a, nullif(b, 0), greatest(c, d)), case when (a) then (b) else (c) end from t",
    "select extract(epoch from now()), cast(a as numeric(10, 2)), a::varchar(10), timestamp(3) '2026-01-01' from t",
    "select pg_catalog.lower(name), PG_CATALOG.Upper (name), count /* all */ (*) from room",
    "select x.n from unnest(array[1, 2]) with ordinality as x(n, i)",
    'select * from jsonb_to_record($1) as "r"(a int, b text)',
    "select a[1], a[1:2], (b).*, (b).* from t where not (a is null) and a @> array[1]",
    "select .5, 1.5e-3, 1_000, 2., -1",
    "select 'it''s', E'it\\'s; ''', e'\\\\', B'101', x'ff', N'n', '\\d+'",
    "select $$ set_config('a', 'b', false); $$, $tag$ $$ ' \" $tag$, $ä$ $ä$",
    'select \'set_config(\', "set_config", "a""(" from t',
    "select 1 -- set_config('a', 'b', false)",
    "select 1 /* set_config('a', 'b', false); ' \" $$ */ + 1",
    "select setting from pg_settings where name = 'x' and set_config = 1",
    "select 1 from hôtel where größe = 'ß' and 日本 = '日本'",
    "select current_setting('app.org_id', true), pg_is_in_recovery(), currval('s'), random(), gen_random_uuid()",
    'SELECT COUNT(*) AS "__count" FROM "hotel" WHERE ("hotel"."org_id" = %s AND UPPER("hotel"."name"::text) LIKE %s)',
    "select grouping(a), sum(b) from t group by grouping sets ((a), ()), rollup (a), cube (a)",
    "select percentile_cont(0.5) within group (order by price_cents) from room",
    "select * from room for share",
    "select a - -1, a / b, a*b, a||b, a->>'x', a#>'{y}', a ? 'k', `a` from t",
]

UNSAFE = [
    # no query, or more than one
    "",
    "   ",
    "-- select 1",
    ";select 1",
    "set app.org_id = '7'",
    "begin",
    "listen news",
    "prepare p as select 1",
    "declare c cursor with hold for select 1",
    "explain analyze select 1",
    "show all",
    "call tidy()",
    "do $$ begin end $$",
    "insert into t values (1)",
    "copy t to stdout",
    "select 1; set app.org_id = '7'",
    "select 1; select 2",
    "select 1;/**/;discard all",
    # a SELECT that writes
    "select * into temp t from room",
    "select 1INTO temp t",
    "with x as (insert into t values (1) returning *) select * from x",
    "with x as (update pg_settings set setting = 'b' where name = 'a' returning 1) select * from x",
    "with x as (delete from t returning *) select * from x",
    "with x as (merge into t using u on true when matched then do nothing returning *) select * from x",
    "select * from room for update",
    # functions that change the session
    "select set_config('app.org_id', '7', false)",
    "SELECT Set_Config ('app.org_id', '7', false)",
    "select set_config/**/('app.org_id', '7', false)",
    "select set_config -- '\n ('app.org_id', '7', false)",
    "select pg_catalog.set_config('app.org_id', '7', false)",
    "select pg_catalog . set_config('app.org_id', '7', false)",
    "select \"set_config\"('app.org_id', '7', false)",
    "select pg_catalog.\"set_config\"('app.org_id', '7', false)",
    "select U&\"set_confi\\0067\"('app.org_id', '7', false)",
    "select u&\"set_confi!0067\" uescape '!' ('app.org_id', '7', false)",
    "select 1 where exists (select pg_advisory_lock(1))",
    "select pg_try_advisory_lock(1)",
    "select pg_advisory_unlock_all()",
    "select * from nextval('s')",
    "select setval('s', 1)",
    "select setseed(0.5)",
    "select pg_export_snapshot()",
    "select lo_open(1, 1), loread(1, 1)",
    "select lowrite(1, 'x')",
    "select * from dblink('db', 'select 1') as t(a int)",
    "select query_to_xml('select set_config(''a'', ''b'', false)', true, true, '')",
    "select ts_rewrite('a'::tsquery, 'select set_config(''a'', ''b'', false)')",
    "select * from ts_stat('select set_config(''a'', ''b'', false)')",
    "select * from pg_logical_slot_get_changes('s', null, null)",
    "select pg_create_physical_replication_slot('s', false, true)",
    "select pg_notify('news', 'x')",
    "select * from t join u on set_config('app.org_id', '7', false) = u.id",
    "values (set_config('app.org_id', '7', false))",
    "select distinct on (a) set_config('app.org_id', '7', false) from t",
    # calls without a parenthesis
    "select (42).pg_advisory_lock",
    "select $1.pg_advisory_lock",
    "select %s.pg_advisory_lock",
    "select a[1].pg_advisory_lock from t",
    'select (42) /**/ . "pg_advisory_lock"',
    # functions that nobody knows
    "select tenant()",
    "select public.lower('X')",
    "select lower.tenant('X')",
    "select \"lower\"('X')",
    "select ran\u212a('X')",
    "select löwer('X')",
    "select lower\u00a0('X')",
    # Hidden from a lexer that reads less carefully than PostgreSQL.
    "select '\\', set_config('app.org_id', '7', false), '",
    "select E'a'\n'b\\'', set_config('app.org_id', '7', false), '",
    "select $a$ $A$ || ' $a$, set_config('app.org_id', '7', false) -- '",
    "select a$$, set_config('app.org_id', '7', false), a$$ from t",
    "select 1 /* /* */ ' */, set_config('app.org_id', '7', false) /* ' /* */ */",
    "select 1 -- \r, set_config('app.org_id', '7', false)",
    "select %(')s, set_config('app.org_id', '7', false), %(')s",
    "select '%(')s, ', set_config('app.org_id', '7', false), '",
    "select lower%s(1)",
    # not lexed
    "select 'open",
    'select "open',
    "select $$open",
    "select $a$open$b$",
    "select 1 /* open",
    "select E'open\\'",
    "select \\ 1",
    "select {x}",
    "select \x00",
    "select 0x1F",
    "select 1and 2",
    "select $1x",
]


@pytest.mark.parametrize("sql", SAFE)
def test_a_plain_query_needs_no_reset(sql: str) -> None:
    assert leaves_session_alone(sql)


@pytest.mark.parametrize("sql", UNSAFE)
def test_anything_else_is_reset(sql: str) -> None:
    assert not leaves_session_alone(sql)


LITERALS = st.one_of(
    st.text().map(lambda text: "'" + text.replace("\\", "").replace("%(", "").replace("'", "''") + "'"),
    st.text().map(lambda text: "E'" + text.replace("%(", "").replace("\\", "\\\\").replace("'", "\\'") + "'"),
    st.text().map(lambda text: "$q$" + text.replace("$", "").replace("%(", "") + "$q$"),
    st.text().map(lambda text: '"' + text.replace("%(", "").replace('"', '""') + '"'),
)
COMMENTS = st.one_of(
    st.just(" "),
    st.text().map(lambda text: "/*" + text.replace("/", "").replace("%(", "") + "*/"),
    st.text().map(lambda text: "--" + text.replace("\r", "").replace("\n", "").replace("%(", "") + "\n"),
)


@given(COMMENTS, LITERALS, COMMENTS, LITERALS)
def test_what_is_quoted_or_commented_is_neither_seen_nor_lost_track_of(
    comment: str, literal: str, other_comment: str, other: str
) -> None:
    query = f"select {literal}{comment},{other}{other_comment}"
    assert leaves_session_alone(f"{query}, lower('A')")
    assert not leaves_session_alone(f"{query}, set_config('a', 'b', false)")
    assert not leaves_session_alone(f"{query}; discard all")


@given(st.text())
def test_every_text_has_a_verdict(text: str) -> None:
    assert leaves_session_alone(text) in {True, False}
    assert not leaves_session_alone(f"select tenant({text}")


@given(st.from_regex(r"[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]{0,20}", fullmatch=True))
def test_a_call_is_allowed_by_name_only(name: str) -> None:
    known = statement._FUNCTIONS | statement._NOT_CALLS
    assert leaves_session_alone(f"select {name}(1)") == (name.isascii() and name.lower() in known)


def test_no_function_that_is_known_to_leak_is_on_the_list() -> None:
    leaks = (
        "set_config",
        "setval",
        "nextval",
        "setseed",
        "lo_",
        "lowrite",
        "loread",
        "dblink",
        "query_to_xml",
    )
    advisory = (
        "pg_advisory",
        "pg_try_advisory",
        "pg_export",
        "pg_create",
        "pg_logical",
        "pg_replication",
        "pg_notify",
    )
    assert not [name for name in statement._FUNCTIONS if name.startswith(leaks + advisory)]


def test_a_very_long_statement_is_not_looked_at() -> None:
    query = "select 1" + " " * MAX_STATEMENT_CHARS
    assert leaves_session_alone(query[:MAX_STATEMENT_CHARS])
    assert not leaves_session_alone(query)


def test_verdicts_are_remembered_and_their_number_is_bounded() -> None:
    statement._verdict.cache_clear()
    for number in range(2 * MAX_CACHED_VERDICTS):
        leaves_session_alone(f"select {number}")
    leaves_session_alone("select 0" + " " * MAX_STATEMENT_CHARS)
    remembered = statement._verdict.cache_info()
    assert (remembered.misses, remembered.currsize) == (2 * MAX_CACHED_VERDICTS, MAX_CACHED_VERDICTS)
    leaves_session_alone(f"select {2 * MAX_CACHED_VERDICTS - 1}")
    assert statement._verdict.cache_info().hits == 1
