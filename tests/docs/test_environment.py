"""The table of variables says what the code reads, with the code's defaults, and examples that it takes."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import pytest

from pgfleet.errors import ConfigurationError
from pgfleet.settings import VARIABLES, NodeSettings, Settings, source
from pgfleet.settings import fleet_file as fleet_files
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/reference/environment.md").read_text()
CHOSEN = ("weight", "zone", "max_connections", "min_connections", "draining", "shared_endpoint")
BASE = {
    "DATABASE_URL": "postgresql://primary/db",
    "READ_REPLICA_1_CONNECTION_STRING": "postgresql://replica/db",
    "DATABASE_PROBE_URL": "postgresql://primary-itself/db",
    "READ_REPLICA_1_PROBE_URL": "postgresql://replica-itself/db",
}


class Row(NamedTuple):
    name: str
    meaning: str
    default: str
    example: str


def table() -> list[Row]:
    lines = re.findall(r"^\| `.*$", PAGE, re.MULTILINE)
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


def variable(row: Row) -> str:
    return row.name.strip("`").replace("<n>", "1")


def value(cell: str) -> str:
    return cell.strip("`").replace("<n>", "1")


@pytest.fixture(autouse=True)
def fleet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of a path leads to a file that holds the example of the page."""
    shown = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert shown
    (tmp_path / "fleet.toml").write_text(shown[1])
    read = source.read_text

    def read_text(path: str, longest: int) -> str:
        return read(str(tmp_path / "fleet.toml") if path == "/etc/pgfleet/replicas.toml" else path, longest)

    monkeypatch.setattr(fleet_files, "read_text", read_text)


def test_the_example_of_a_fleet_file_shows_every_key() -> None:
    (replica,) = Settings.from_env({**BASE, "PGFLEET_FLEET_FILE": "/etc/pgfleet/replicas.toml"}).replicas[1:]
    plain = NodeSettings("reports", replica.dsn)
    assert all(getattr(replica, f.name) != getattr(plain, f.name) for f in fields(plain) if f.name in CHOSEN)
    assert all(f"{key} = " in PAGE for key in fleet_files.KEYS)


def test_names_each_variable_that_the_code_reads_once() -> None:
    assert sorted(row.name.strip("`") for row in table()) == sorted(VARIABLES)


@pytest.mark.parametrize("row", table(), ids=variable)
def test_the_example_is_taken_and_changes_something(row: Row) -> None:
    assert Settings.from_env({**BASE, variable(row): value(row.example)}) != Settings.from_env(BASE)


@pytest.mark.parametrize("row", [row for row in table() if row.default.startswith("`")], ids=variable)
def test_the_default_is_the_code_s(row: Row) -> None:
    assert Settings.from_env({**BASE, variable(row): value(row.default)}) == Settings.from_env(BASE)


def test_the_errors_are_the_code_s() -> None:
    shown = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert shown
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(
            {
                "DATABASE_URL": BASE["DATABASE_URL"],
                "READ_REPLICA_3_CONNECTION_STRING": BASE["DATABASE_URL"],
                "READ_REPLICA_1_CONECTION_STRING": "x",
                "DB_MAX_IDLE_TIME": "soon",
            }
        )
    assert sorted(caught.value.problems) == sorted(shown[1].splitlines())


def test_no_page_speaks_of_a_variable_that_is_not_read() -> None:
    spoken = set(re.findall(r"\b(?:DB|DATABASE|USE_READ|REPLICA|PGFLEET)_[A-Z_]+[A-Z]\b", PAGE))
    assert {
        name for name in spoken if name not in VARIABLES and name.removesuffix("_FILE") not in VARIABLES
    } == set()
