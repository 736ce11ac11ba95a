"""libpq is the oracle: what we read, it reads alike; what people write rightly, we read."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import psycopg
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from pgfleet.settings import Dsn
from pgfleet.settings.conninfo import KEYWORDS, parse_conninfo

unhurried = settings(deadline=None)

values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
database_names = values.filter(lambda name: "=" not in name and "://" not in name)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
addresses = st.ip_addresses().map(str)
directories = values.filter(lambda text: "," not in text and text.isprintable()).map("/".__add__)
hosts = st.lists(
    st.tuples(names | addresses | directories, st.none() | st.integers(1, 65535)), min_size=1, max_size=4
)
parameters = st.fixed_dictionaries(
    {},
    optional={
        "sslmode": st.sampled_from(["disable", "prefer", "verify-full"]),
        "target_session_attrs": st.sampled_from(["any", "primary", "prefer-standby"]),
        "application_name": values,
        "options": values,
        "sslrootcert": values,
    },
)
fields = st.fixed_dictionaries({}, optional={"user": values, "password": values, "dbname": database_names})

FRAGMENTS = [
    *"@/:?#&=%,;[]' \t\n\\",
    *(
        "postgresql://",
        "postgres://",
        "host=",
        "port=",
        "password='",
        "sslmode=require",
        "ssl=true",
        "ssl=",
        "dbname=",
    ),
    *("u", "h", "::1", "[::1]", "5432", "%40", "%2C", "%C3%A4", "%ff", "%0", "ä", "options=-c", "user="),
]
almost = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


def url(where: list[tuple[str, int | None]], who: Mapping[str, str], more: Mapping[str, str]) -> str:
    def encoded(text: str) -> str:
        return quote(text, safe="")

    credentials = encoded(who.get("user", "")) + (f":{encoded(who['password'])}" if "password" in who else "")
    places = ",".join(
        (f"[{host}]" if ":" in host and host[0] != "/" else encoded(host)) + (f":{port}" if port else "")
        for host, port in where
    )
    query = "&".join(f"{key}={encoded(value)}" for key, value in more.items())
    return f"postgresql://{credentials}{'@' * bool(credentials)}{places}/{encoded(who.get('dbname', ''))}?{query}"


def keywords(where: list[tuple[str, int | None]], who: Mapping[str, str], more: Mapping[str, str]) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", r"\\").replace("'", r"\'") + "'"

    places = {
        "host": ",".join(host for host, _ in where),
        "port": ",".join(str(port or "") for _, port in where),
    }
    return " ".join(f"{key}={quoted(value)}" for key, value in {**places, **who, **more}.items())


def told(dsn: Dsn) -> dict[str, str]:
    """What a Dsn says, in libpq's keywords, the hosts apart."""
    password = dsn.password.reveal() if dsn.password else None
    own = {"user": dsn.user, "password": password, "dbname": dsn.database}
    return {key: value for key, value in own.items() if value} | dict(dsn.parameters)


def libpq(text: str) -> dict[str, str]:
    return {key: str(value) for key, value in conninfo_to_dict(text).items()}


@unhurried
@given(hosts, fields, parameters)
def test_what_people_write_is_read_as_libpq_reads_it(
    where: list[tuple[str, int | None]], who: dict[str, str], more: dict[str, str]
) -> None:
    for text in (url(where, who, more), keywords(where, who, more)):
        dsn, oracle = Dsn.parse(text), libpq(text)
        assert dsn.hosts == tuple((host, port or 5432) for host, port in where)
        assert ",".join(host for host, _ in dsn.hosts) == oracle.pop("host")
        oracle.pop("port", None)
        assert told(dsn) == {**who, **more} == oracle


@unhurried
@given(almost | st.text())
@example("postgresql://h/db?sslmode=disable&ssl=true")
@example("host=h password='a'user=b")
@example("host= port=1")
@example("host=h password=x\\")
@example("postgresql://h/db?user=x&")
@example("postgresql://u:p?x@h/db#f")
@example("postgresql://a%2Cb/db")
@example("postgresql://:%")
@example("postgresql://h:5%34/db")
def test_nothing_is_read_otherwise_than_libpq_reads_it(text: str) -> None:
    try:
        ours = parse_conninfo(text)
    except ValueError:
        return
    assert ours == libpq(text)


@unhurried
@given(almost)
def test_every_dsn_is_one_that_libpq_takes(text: str) -> None:
    try:
        dsn = Dsn.parse(text)
    except ValueError:
        return
    assert libpq(dsn.reveal())


def test_every_keyword_of_the_installed_libpq_is_known() -> None:
    assert {option.keyword.decode() for option in pq.Conninfo.get_defaults()} <= KEYWORDS


def test_the_oracle_refuses_what_it_should() -> None:
    try:
        libpq("host=h nonsense=1")
    except psycopg.ProgrammingError:
        return
    raise AssertionError("libpq took a keyword that does not exist")
