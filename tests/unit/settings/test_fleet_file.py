from __future__ import annotations

from pathlib import Path

import pytest

from pgfleet.core.membership import Found
from pgfleet.errors import ConfigurationError
from pgfleet.settings import Dsn, NodeSettings, Settings
from pgfleet.settings.conninfo import EXAMPLE
from pgfleet.settings.discovered import discovered
from pgfleet.settings.fleet_file import parse_fleet

UNREADABLE = "cannot be read (No such file or directory); write the path of a readable file"
URL = "postgresql://app:Γάτα@primary:5432/hotel"
DSN = "postgresql://app:Γάτα@{}:5432/hotel"


def from_env(fleet: Path, **variables: str) -> Settings:
    return Settings.from_env({"DATABASE_URL": URL, "PGFLEET_FLEET_FILE": str(fleet), **variables})


def problems(fleet: Path, **variables: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        from_env(fleet, **variables)
    assert "Γ" not in str(caught.value)
    return caught.value.problems


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return tmp_path / "fleet.toml"


def test_its_replicas_stand_behind_those_of_the_environment(fleet: Path) -> None:
    fleet.write_text(
        f"""
        [[replica]]
        name = "reports"
        dsn = "{DSN.format("db-4")}"
        weight = 3
        zone = "eu-west-1a"
        max_connections = 20
        min_connections = 0
        drain = true

        [[replica]]
        name = "web"
        dsn = "{DSN.format("db-5")}"
        max_connections = 2
        """
    )
    settings = from_env(fleet, READ_REPLICA_1_CONNECTION_STRING=DSN.format("db-1"))
    assert settings.fleet_file == str(fleet)
    environment, reports, web = settings.replicas
    assert environment.name == "replica-1"
    assert reports == NodeSettings(
        "reports",
        Dsn.parse(DSN.format("db-4")),
        3,
        "eu-west-1a",
        20,
        0,
        "PGFLEET_FLEET_FILE replica[0]",
        None,
        True,
    )
    assert (web.weight, web.max_connections, web.min_connections, web.draining) == (1, 2, 2, False)


def test_a_connection_string_may_stand_in_a_file_beside_it(fleet: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(DSN.format("db-4") + "\n")
    fleet.write_text('[[replica]]\nname = "a"\ndsn_file = "secret"\n')
    (replica,) = from_env(fleet).replicas
    assert replica.dsn.hosts == (("db-4", 5432),)


def test_what_is_somebody_elses_is_left_to_him(fleet: Path) -> None:
    fleet.write_text('[provider]\nkind = "rds"\n[primary]\nsize = 3\n')
    assert from_env(fleet).replicas == ()


NAMED = f'[[replica]]\nname = "a"\ndsn = "{DSN.format("db-4")}"\n'
WRONG = {
    "weight = 0": "replica[0].weight: '0' is not a whole number from 1 to 100; write for example 1",
    'weight = "2"': "replica[0].weight: '2' is not a whole number from 1 to 100; write for example 1",
    'max_connections = "x"': "replica[0].max_connections: 'x' is not a whole number from 1 to 262143; "
    "write for example 50",
    "min_connections = 51": "replica[0].min_connections: 51 is above the maximum of 50; lower it, or raise "
    "PGFLEET_FLEET_FILE replica[0].max_connections",
    'zone = "a b"': "replica[0].zone: 'a b' is not a zone's name; write for example 'eu-west-1a'",
    "drain = 1": "replica[0].drain: is not true or false; write true or false",
    "wieght = 1": "replica[0]: has 'wieght', which means nothing; write one of name, dsn, dsn_file, weight, zone, "
    "max_connections, min_connections, shared_endpoint, drain",
    'dsn_file = "x"': "replica[0].dsn: is set, and PGFLEET_FLEET_FILE replica[0].dsn_file too; keep one of them",
}


@pytest.mark.parametrize("line", WRONG)
def test_one_wrong_line_is_one_problem(fleet: Path, line: str) -> None:
    fleet.write_text(NAMED + line)
    assert problems(fleet) == (f"PGFLEET_FLEET_FILE {WRONG[line]}",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "PGFLEET_FLEET_FILE: names an empty file; write the path of a fleet file"),
        ("[[replica]", "PGFLEET_FLEET_FILE: is not TOML (line 1, column 10); mend it there"),
        ("x = " + "[" * 5000, "PGFLEET_FLEET_FILE: is not TOML (nested too deeply); mend it there"),
        ("[[replicas]]", "PGFLEET_FLEET_FILE: has 'replicas' at its top, which means nothing; write [[replica]]"),
        ("replica = 1", "PGFLEET_FLEET_FILE: has a replica that is no list; write [[replica]] before each"),
        (
            '[[replica]]\nname = "a"',
            f'PGFLEET_FLEET_FILE replica[0].dsn: is not set; write dsn = "{EXAMPLE}"',
        ),
        (
            f'[[replica]]\ndsn = "{DSN.format("db-4")}"',
            'PGFLEET_FLEET_FILE replica[0].name: is not set; write name = "reports-1"',
        ),
        (
            '[[replica]]\nname = "a"\ndsn = 5',
            'PGFLEET_FLEET_FILE replica[0].dsn: is not a text; write dsn = "..."',
        ),
        (
            '[[replica]]\nname = "a"\ndsn_file = "nowhere"',
            f"PGFLEET_FLEET_FILE replica[0].dsn_file: {UNREADABLE}",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used(fleet: Path, text: str, problem: str) -> None:
    fleet.write_text(text)
    assert problems(fleet) == (problem,)


def test_a_file_that_is_not_there_is_an_error_and_no_empty_fleet(fleet: Path) -> None:
    made = "or let `pgfleet replica add` make it"
    assert problems(fleet) == (f"PGFLEET_FLEET_FILE: {UNREADABLE}, {made}",)


def test_everything_wrong_is_told_at_once_with_the_environment(fleet: Path) -> None:
    fleet.write_text(
        NAMED
        + NAMED
        + f'[[replica]]\nname = "primary"\ndsn = "{URL}"\n'
        + '[[replica]]\nname = "b"\ndsn = "Γάτα"'
    )
    told = problems(fleet, READ_REPLICA_1_NAME="a", READ_REPLICA_1_CONNECTION_STRING=DSN.format("db-1"))
    assert [line.partition(": ")[0] for line in told] == [
        "PGFLEET_FLEET_FILE replica[3].dsn",
        "PGFLEET_FLEET_FILE replica[0].name",
        "PGFLEET_FLEET_FILE replica[1].name",
        "PGFLEET_FLEET_FILE replica[2].name",
        "PGFLEET_FLEET_FILE replica[1].dsn",
        "PGFLEET_FLEET_FILE replica[2].dsn",
    ]


def test_no_problem_quotes_what_may_be_a_password() -> None:
    for text in (
        "Γάτα = 1",
        '[[replica]]\n"u:Γάτα@h" = 1',
        '[[replica]]\nname = "Γάτα"\ndsn = "h:Γάτα"',
        '"Γάτα',
    ):
        _, told = parse_fleet(text)
        assert told
        assert "Γ" not in "".join(told)


# discovery


@pytest.mark.parametrize(
    "text",
    [
        "dns:replicas.example.com:5432",
        "dns:replicas",
        "srv:_postgres._tcp.example.com",
        "patroni:http://h1:8008, https://h2",
        "static:db-2:5432,db-3",
    ],
)
def test_ways_to_discover(text: str) -> None:
    settings = Settings.from_env({"DATABASE_URL": URL, "PGFLEET_DISCOVERY": text})
    assert settings.discovery == text.replace(" ", "")


@pytest.mark.parametrize(
    "text", ["dns:", "dns", "etcd:h:1", "dns:h:0", "dns:h:70000", "patroni:h1:8008", "static:a,,b"]
)
def test_what_is_no_way_to_discover(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"PGFLEET_DISCOVERY: .* is not a way to discover replicas; write dns:"
    ):
        Settings.from_env({"DATABASE_URL": URL, "PGFLEET_DISCOVERY": text})


PRIMARY = NodeSettings(
    "primary",
    Dsn.parse("postgresql://app:Γάτα'\\@Primary:5432/hotel?target_session_attrs=primary&sslmode=require"),
)


def test_found_servers_have_the_credentials_of_the_primary() -> None:
    found = (
        Found("db-2", "db-2.example.com", 6432, 2, "a"),
        Found("db-3", "fd00::3", 5432, takes_reads=False),
    )
    second, third = discovered(found, PRIMARY)
    assert second.dsn.hosts == (("db-2.example.com", 6432),)
    assert third.dsn.hosts == (("fd00::3", 5432),)
    for node in (second, third):
        assert (node.dsn.user, node.dsn.database) == ("app", "hotel")
        assert node.dsn.password == PRIMARY.dsn.password
        assert node.dsn.parameters == {"sslmode": "require"}
    assert (second.weight, second.zone, second.draining, third.draining) == (2, "a", False, True)


def test_a_password_that_is_asked_for_is_asked_for_there_too() -> None:
    def ask() -> str:
        return "token"

    primary = NodeSettings("primary", Dsn.parse("postgresql://app@primary/hotel"), password=ask)
    (node,) = discovered((Found("db-2", "db-2", 5432),), primary)
    assert node.password is ask


def test_whoever_has_the_primarys_address_is_the_primary() -> None:
    assert discovered((Found("leader", "PRIMARY", 5432),), PRIMARY) == ()
    several = NodeSettings("primary", Dsn.parse("postgresql://a,b/hotel?target_session_attrs=primary"))
    assert len(discovered((Found("a", "a", 5432), Found("b", "b", 5432)), several)) == 2


def test_found_servers_that_make_no_fleet_are_refused() -> None:
    with pytest.raises(ValueError, match="is already the name of"):
        discovered((Found("a", "a", 1), Found("a", "b", 1)), PRIMARY)
    with pytest.raises(ValueError, match="is the same server"):
        discovered((Found("a", "a", 1), Found("b", "a", 1)), PRIMARY)
