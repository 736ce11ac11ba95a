from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest

from pgfleet.settings import Dsn, Secret


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("postgresql://h/db", [("h", 5432)]),
        ("postgres://h:6000/db", [("h", 6000)]),
        ("postgresql://u:p@[::1]:6000/db", [("::1", 6000)]),
        ("postgresql://[fe80::1%25eth0]/db", [("fe80::1%eth0", 5432)]),
        ("postgresql://a,b:6000,c/db", [("a", 5432), ("b", 6000), ("c", 5432)]),
        ("postgresql://%2Fvar%2Frun/db", [("/var/run", 5432)]),
        ("postgresql:///db?host=/var/run&port=6000", [("/var/run", 6000)]),
        ("postgresql://h?dbname=db", [("h", 5432)]),
        ("host=a,b port=6000 dbname=db", [("a", 6000), ("b", 6000)]),
        ("host=a,b port=6000,6001", [("a", 6000), ("b", 6001)]),
        ("host = ::1 dbname = db", [("::1", 5432)]),
        ("host='/var/run' dbname=db", [("/var/run", 5432)]),
        ("hostaddr=10.0.0.1 dbname=db", [("10.0.0.1", 5432)]),
        ("host=my_service.internal", [("my_service.internal", 5432)]),
    ],
)
def test_finds_every_host_with_its_port(text: str, hosts: list[tuple[str, int]]) -> None:
    assert list(Dsn.parse(text).hosts) == hosts


def test_decodes_what_a_url_encodes() -> None:
    dsn = Dsn.parse("postgresql://a%40b:p%2Fq%3A%25%C3%A4@h/d%20b?options=-c%20x%3D1")
    assert (dsn.user, dsn.password, dsn.database) == ("a@b", Secret("p/q:%ä"), "d b")
    assert dsn.parameters == {"options": "-c x=1"}


def test_reads_quoted_and_escaped_values() -> None:
    dsn = Dsn.parse(r"host=h user=a\ b password='it\'s \\ here' dbname=''")
    assert (dsn.user, dsn.password, dsn.database) == ("a b", Secret(r"it's \ here"), None)


def test_leaves_open_what_it_does_not_say() -> None:
    dsn = Dsn.parse("postgresql://h")
    assert (dsn.user, dsn.password, dsn.database, dsn.parameters) == (None, None, None, {})


def test_takes_credentials_from_the_query_too() -> None:
    dsn = Dsn.parse("postgresql://h/db?user=u&password=p&sslmode=verify-full&sslrootcert=/ca.pem")
    assert (dsn.user, dsn.password) == ("u", Secret("p"))
    assert dsn.parameters == {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}


@pytest.mark.parametrize(
    ("query", "sslmode"),
    [("ssl=true", "require"), ("sslmode=disable&ssl=true", "require"), ("sslmode=allow", "allow")],
)
def test_takes_jdbc_s_word_for_tls(query: str, sslmode: str) -> None:
    assert Dsn.parse(f"postgresql://h/db?{query}").parameters == {"sslmode": sslmode}


def test_ignores_blanks_around_a_url() -> None:
    assert Dsn.parse(" postgresql://h/db\n").reveal() == "postgresql://h/db"


def test_keeps_an_escaped_blank_at_the_end() -> None:
    assert Dsn.parse("host=h password=x\\ ").password == Secret("x ")


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("postgresql://u:Γάτα@h/db", "h:5432/db"),
        ("postgresql://u:Γάτα@[::1]:6000/db?sslmode=require", "[::1]:6000/db"),
        ("host=a,b user=u password=Γάτα", "a:5432,b:5432/u"),
        ("host=/var/run password=Γάτα", "/var/run:5432/"),
        ("postgresql://h/d%0Ab", "h:5432/d?b"),
    ],
)
def test_shows_the_address_alone(text: str, display: str) -> None:
    dsn = Dsn.parse(text)
    assert dsn.display == display
    assert repr(dsn) == str(dsn) == f"{dsn}" == f"Dsn({display})"
    assert dsn.reveal() == text


def test_is_frozen() -> None:
    dsn = Dsn.parse("postgresql://h/db?sslmode=require")
    with pytest.raises(FrozenInstanceError):
        dsn.user = "x"  # type: ignore[misc]
    dict(dsn.parameters).clear()
    assert dsn.parameters == {"sslmode": "require"}


def test_survives_copying_and_pickling() -> None:
    dsn = Dsn.parse("postgresql://u:p@h/db?sslmode=require")
    assert pickle.loads(pickle.dumps(dsn)) == copy.deepcopy(dsn) == dsn
    assert len({dsn, copy.deepcopy(dsn)}) == 1


@pytest.mark.parametrize(
    "other",
    [
        "postgres://someone:else@H:5432/db?sslmode=require",
        "host=h dbname=db",
        "host=h user=db",
        "host=h dbname=db target_session_attrs=standby",
    ],
)
def test_same_server(other: str) -> None:
    assert Dsn.parse(other).server == Dsn.parse("postgresql://h/db").server


@pytest.mark.parametrize(
    "other",
    ["postgresql://h2/db", "postgresql://h/db2", "postgresql://h:6000/db", "host=h hostaddr=::1 dbname=db"],
)
def test_another_server(other: str) -> None:
    assert Dsn.parse(other).server != Dsn.parse("postgresql://h/db").server


def test_one_list_of_hosts_means_two_servers_by_the_role_it_asks_for() -> None:
    primary = Dsn.parse("postgresql://a,b/db?target_session_attrs=primary")
    assert primary.server == Dsn.parse("postgresql://b,a/db?target_session_attrs=primary").server
    assert primary.server != Dsn.parse("postgresql://a,b/db?target_session_attrs=standby").server


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no host"),
        ("postgresql://", "names no host"),
        ("postgresql:///db", "names no host"),
        ("port=5432", "names no host"),
        ("h", "neither a URL nor"),
        ("host=h password='open", "neither a URL nor"),
        ("host=h password=two words", "neither a URL nor"),
        ("host=h password=x\\", "neither a URL nor"),
        ("mysql://h/db", "scheme"),
        ("postgresql+asyncpg://h/db", "scheme"),
        ("jdbc:postgresql://h/db", "scheme"),
        ("postgresql://u:p@ss@h/db", "%40 for @"),
        ("postgresql://u:p/ss@h/db", "%2F for /"),
        ("postgresql://u:p%ss@h/db", "%25 for %"),
        ("postgresql://u:p%00@h/db", "%25 for %"),
        ("postgresql://u:p%ff@h/db", "not UTF-8"),
        ("postgresql://u:\udcff@h/db", "not UTF-8"),
        ("host=h password=\0", "NUL"),
        ("postgresql://u:p q@h/db", "%20"),
        ("postgresql://u:p", "port"),
        ("postgresql://h:0/db", "port"),
        ("postgresql://h:65536/db", "port"),
        ("postgresql://h:٥٤٣٢/db", "port"),
        ("postgresql://a,b/db?port=1,2,3", "ports than hosts"),
        ("host=a,b,c port=1,2", "ports than hosts"),
        ("postgresql://::1/db", "in brackets"),
        ("postgresql://[::1/db", "in brackets"),
        ("postgresql://[]/db", "in brackets"),
        ("postgresql://a,,b/db", "no host name"),
        ("host=u:p@h", "no host name"),
        ("host=u:secret", "no host name"),
        ("postgresql://h/db?sslmode", "not name=value"),
        ("postgresql://h/db?options=a=b", "%3D for ="),
        ("postgresql://h/db?sslmode=always", "sslmode; write one of disable"),
        ("host=h sslmode=''", "sslmode; write one of disable"),
        ("host=h target_session_attrs=master", "read-write"),
        ("postgresql://h/db?sslmod=require", "write sslmode"),
        ("postgresql://h/db?statement_timeout=1", "options=-c"),
        ("host=h dbname=postgresql://u:p@h/db", "in the place of its database"),
    ],
)
def test_says_what_is_wrong_and_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^THE_NAME: ") as caught:
        Dsn.parse(text, "THE_NAME")
    assert said in str(caught.value)
    assert "; " in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
