"""`fleet.toml` is read whole, or everything wrong with it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgfleet.errors import ConfigurationError, DriverMissing
from pgfleet.provision import registry
from pgfleet.provision.declaration import Declaration, Keys, WantedReplica
from pgfleet.provision.file import parse_declaration, read_declaration
from pgfleet.provision.provider import Provider

PATH = Path("/etc/hotel/fleet.toml")
WHOLE = """
[fleet]
name = "hospitality"
register = "replicas.toml"

[provider]
kind = "rds"
region = "us-east-1"

[primary]
instance = "hospitality-primary"
dsn_env = "DATABASE_URL"

[[replica]]
name = "replica-1"
zone = "us-east-1a"
class = "db.r5.xlarge"
tags = { Environment = "production" }
weight = 2
monitoring_interval = 60

[[replica]]
name = "replica-2"
"""


class Room:
    """A platform whose keys are these."""

    KEYS = Keys(
        provider=frozenset({"region"}),
        primary=frozenset({"instance"}),
        replica=frozenset({"monitoring_interval"}),
    )


@pytest.fixture(autouse=True)
def rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgfleet.provision.file.platform", lambda kind: Room)


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        parse_declaration(text, PATH)
    return caught.value.problems


def problem(old: str, new: str) -> str:
    assert old in WHOLE
    (line,) = problems(WHOLE.replace(old, new, 1))
    return line.removeprefix("fleet.toml: ")


def test_a_whole_file_is_read_as_it_stands() -> None:
    assert parse_declaration(WHOLE, PATH) == Declaration(
        name="hospitality",
        provider="rds",
        replicas=(
            WantedReplica(
                "replica-1",
                "us-east-1a",
                "db.r5.xlarge",
                {"Environment": "production"},
                2,
                {"monitoring_interval": 60},
            ),
            WantedReplica("replica-2"),
        ),
        options={"region": "us-east-1"},
        primary={"instance": "hospitality-primary", "dsn_env": "DATABASE_URL"},
        directory="/etc/hotel",
        register="/etc/hotel/replicas.toml",
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("zone =", "zoen =", "[[replica]] 1: has 'zoen', which means nothing; write zone? Known are class, "),
        (
            "region =",
            "regoin =",
            "[provider]: has 'regoin', which means nothing; write region? Known are kind, region",
        ),
        ("instance =", "password =", "[primary]: has 'password', which means nothing; write "),
        (
            'kind = "rds"',
            'kind = "rdss"',
            "[provider] kind: 'rdss' is no provider; write rds? Known are local, ",
        ),
        ('kind = "rds"', "kind = 7", "[provider] kind: '7' is no provider; write one of local, "),
        ('kind = "rds"', "", "[provider] kind: is not set; write kind = "),
        ("[fleet]", "[fleets]\n[fleet]", "has at its top 'fleets', which means nothing; write fleet? "),
        ("[primary]", "[[primary]]", "primary: is no table; write [primary]"),
        ('"replica-2"', '"replica-1"', "[[replica]] 2 name: 'replica-1' is the name of [[replica]] 1 too; "),
        ('"replica-2"', '"primary"', "[[replica]] 2 name: 'primary' is the primary's; write another"),
        (
            '"replica-2"',
            '"Replica_2"',
            "[[replica]] 2 name: 'Replica_2' is not at most 40 lower-case letters",
        ),
        ('"replica-2"', '"a--b"', "[[replica]] 2 name: 'a--b' is not "),
        ('name = "replica-2"', "", '[[replica]] 2 name: is not set; write name = "replica-1"'),
        ('"hospitality"', '"-"', "[fleet] name: '-' is not at most 40"),
        ("weight = 2", "weight = 0", "[[replica]] 1 weight: '0' is not a whole number from 1 to 100"),
        ("weight = 2", "weight = true", "[[replica]] 1 weight: 'True' is not a whole number"),
        ('"us-east-1a"', '"us east"', "[[replica]] 1 zone: 'us east' is not a zone's name"),
        ('"us-east-1a"', "1", "[[replica]] 1 zone: is not a text; write zone = "),
        ('"us-east-1a"', '""', "[[replica]] 1 zone: is not a text; write zone = "),
        ('"db.r5.xlarge"', "5", "[[replica]] 1 class: is not a text"),
        ('"production"', "1", "[[replica]] 1 tags: is no table of texts"),
        ('dsn_env = "DATABASE_URL"', 'dsn_env = ""', "[primary] dsn_env: is not a text"),
        (
            'dsn_env = "DATABASE_URL"',
            'dsn_env = "A"\ndsn_file = "b"',
            "[primary]: has dsn_env and dsn_file; ",
        ),
        ('"replicas.toml"', '"./fleet.toml"', "[fleet] register: is this file itself; "),
    ],
)
def test_what_is_wrong_is_named_with_the_next_step(old: str, new: str, told: str) -> None:
    assert problem(old, new).startswith(told)


def test_everything_is_told_at_once() -> None:
    broken = WHOLE.replace("zone", "zoen").replace("weight = 2", "weight = 0").replace('"hospitality"', '""')
    assert len(problems(broken)) == 3
    assert len(problems("")) == 3, "no name, no provider, no replica"
    assert (
        problems("replica = 3")[2]
        == "fleet.toml: replica: is no list of tables; write [[replica]] before each"
    )


def test_an_unknown_provider_does_not_make_its_keys_wrong() -> None:
    assert "region" not in problem('"rds"', '"azure"')


def test_what_is_no_toml_is_told_by_its_place_and_not_quoted() -> None:
    (told,) = problems('[fleet]\nname = secret"')
    assert told == f"{PATH}: is not TOML (line 2, column 8); mend it there"


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read (No such file"), (b"\xff", "is not UTF-8"), (b"", "empty")]
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "fleet.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"fleet\.toml") as caught:
        read_declaration(path)
    assert told in caught.value.problems[0]
    assert caught.value.hint


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> object:
        raise ModuleNotFoundError("No module named 'boto3'", name="boto3")

    monkeypatch.setattr(registry, "import_module", import_module)
    with pytest.raises(DriverMissing) as caught:
        registry.open_provider(Declaration("f", "rds", ()), {})
    assert caught.value.hint == "pip install 'pgfleet[aws]'"


def test_an_extra_that_is_missed_when_the_provider_opens_is_named_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Late(Room):
        @staticmethod
        def open_provider(declaration: Declaration, environ: object) -> Provider:
            raise ModuleNotFoundError("No module named 'asyncssh'", name="asyncssh")

    monkeypatch.setattr(registry, "import_module", lambda name: Late)
    with pytest.raises(DriverMissing) as caught:
        registry.open_provider(Declaration("f", "selfhosted", ()), {})
    assert caught.value.hint == "pip install 'pgfleet[ssh]'"
