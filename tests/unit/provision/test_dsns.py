"""A replica's connection string is the application's at another place, by libpq's own reading."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgfleet.errors import ConfigurationError
from pgfleet.provision.declaration import Declaration
from pgfleet.provision.dsns import OF_PLACE, application_dsn, at
from pgfleet.provision.provider import Endpoint, Provider
from pgfleet.settings import Dsn
from tests.unit.provision.fake import FakeProvider, World

PLACE = Endpoint("replica-1", "db-2.example.com", 6543)
SECRET = "tr0ub4dor"


@pytest.mark.parametrize(
    ("given_dsn", "endpoint", "expected"),
    [
        ("postgresql://u:p@h:5432/db", PLACE, "postgresql://u:p@db-2.example.com:6543/db"),
        (
            "postgres://h/db?sslmode=verify-full",
            PLACE,
            "postgres://db-2.example.com:6543/db?sslmode=verify-full",
        ),
        ("postgresql://u:a%40b%2F@h/db", PLACE, "postgresql://u:a%40b%2F@db-2.example.com:6543/db"),
        ("postgresql://u@a:1,b:2,[::1]:3/db", PLACE, "postgresql://u@db-2.example.com:6543/db"),
        ("postgresql://u@h/db", Endpoint("r", "2001:db8::7", 5432), "postgresql://u@[2001:db8::7]:5432/db"),
        (
            "postgresql://u@h/db",
            Endpoint("r", "/var/run/pg", 5432),
            "postgresql://u@%2Fvar%2Frun%2Fpg:5432/db",
        ),
        (
            "postgresql://u@h/db?target_session_attrs=primary&hostaddr=10.0.0.1&application_name=web&port=1",
            PLACE,
            "postgresql://u@db-2.example.com:6543/db?application_name=web",
        ),
        ("postgresql://u@h/db?%68ost=a", PLACE, "postgresql://u@db-2.example.com:6543/db"),
        ("postgresql:///db?host=/run/pg", PLACE, "postgresql://db-2.example.com:6543/db"),
        (
            "host=h port=1 user=u password='it\\'s' dbname=db",
            PLACE,
            "user='u' password='it\\'s' dbname='db' host='db-2.example.com' port='6543'",
        ),
    ],
)
def test_only_the_place_is_another(given_dsn: str, endpoint: Endpoint, expected: str) -> None:
    assert at(Dsn.parse(given_dsn), endpoint).reveal() == expected


values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
words = st.fixed_dictionaries(
    {"host": st.just("h")},
    optional={
        "user": values,
        "password": values,
        "dbname": values.filter(lambda name: "=" not in name and "://" not in name),
        "sslmode": st.sampled_from(["disable", "verify-full"]),
        "target_session_attrs": st.sampled_from(["any", "primary"]),
        "application_name": values,
    },
)
places = st.builds(
    Endpoint,
    st.just("replica-1"),
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True) | st.ip_addresses().map(str),
    st.integers(1, 65535),
)


def as_url(given_words: dict[str, str]) -> str:
    kept = {key: quote(value, safe="") for key, value in given_words.items()}
    credentials = ":".join(kept[key] for key in ("user", "password") if key in kept)
    query = "&".join(
        f"{key}={value}" for key, value in kept.items() if key not in ("user", "password", "dbname", "host")
    )
    return f"postgresql://{credentials}{'@' if credentials else ''}h/{kept.get('dbname', '')}?{query}"


@settings(deadline=None)
@given(words, places, st.booleans())
def test_libpq_reads_all_else_as_before(given_words: dict[str, str], place: Endpoint, url: bool) -> None:
    if url and "password" in given_words:
        given_words = {"user": "u", **given_words}
    text = as_url(given_words) if url else make_conninfo("", **given_words)
    before, after = conninfo_to_dict(text), conninfo_to_dict(at(Dsn.parse(text), place).reveal())
    assert (after.pop("host"), after.pop("port")) == (place.host, str(place.port))
    assert after == {key: value for key, value in before.items() if key not in OF_PLACE}


def declared(**primary: str) -> Declaration:
    return Declaration("hotel", "rds", (), primary=primary, directory="/nowhere")


def provider() -> Provider:
    return FakeProvider(World())


class Knowing(FakeProvider):
    def dsn(self) -> Dsn:
        return Dsn.parse("postgresql://made/db")


def test_where_it_comes_from(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": "postgresql://usual/db", "HOTEL": "postgresql://hotel/db"}
    (tmp_path / "dsn").write_text("postgresql://file/db\n")
    in_file = Declaration("hotel", "rds", (), primary={"dsn_file": "dsn"}, directory=str(tmp_path))
    assert application_dsn(declared(), environ, provider()).hosts[0][0] == "usual"
    assert application_dsn(declared(dsn_env="HOTEL"), environ, provider()).hosts[0][0] == "hotel"
    assert application_dsn(in_file, environ, provider()).reveal() == "postgresql://file/db"
    assert application_dsn(declared(), environ, Knowing(World())).hosts[0][0] == "made"
    assert application_dsn(declared(dsn_env="HOTEL"), environ, Knowing(World())).hosts[0][0] == "hotel"


@pytest.mark.parametrize(
    ("primary", "environ", "told"),
    [
        ({}, {}, "DATABASE_URL: is not set"),
        ({"dsn_env": "HOTEL"}, {"DATABASE_URL": "postgresql://h/db"}, "HOTEL: is not set"),
        ({"dsn_file": "dsn"}, {}, "DATABASE_URL_FILE: cannot be read (No such file"),
        ({}, {"DATABASE_URL": f"postgresql://u:{SECRET}/@h/db"}, "DATABASE_URL: has an @ or / that ends"),
    ],
)
def test_without_one_the_next_step_is_told(
    primary: dict[str, str], environ: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        application_dsn(declared(**primary), environ, provider())
    assert caught.value.problems[0].startswith(told)
    assert "dsn_env" in caught.value.hint
    assert SECRET not in str(caught.value)
