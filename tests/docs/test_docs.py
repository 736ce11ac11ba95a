"""The pages are held to the product: what they say to type exists, what they show runs, where they point is there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import psycopg
import pytest
from typer.core import TyperGroup
from typer.main import get_command

import pgfleet
from pgfleet import errors
from pgfleet.cli.app import app
from pgfleet.local import LocalFleet
from tests.docs.pages import PAGES, ROOT, SHELLS, Command, Snippet, all_snippets, commands, links

PYTHON = all_snippets("python")
COMMANDS = [command for snippet in all_snippets(*SHELLS) for command in commands(snippet)]
PRIVATE = re.compile(r"(?<![\w.])/(root|work|home)/|file://|index-url|\.pkg\.dev")
REFERENCE = ROOT / "docs" / "reference"


def inert(group: TyperGroup) -> TyperGroup:
    """The command line as it is, parsing everything and doing nothing."""
    group.callback = None
    for command in group.commands.values():
        if isinstance(command, TyperGroup):
            inert(command)
        else:
            command.callback = None
    return group


def command_line() -> TyperGroup:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def command_names(group: TyperGroup, prefix: str = "pgfleet") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from command_names(command, f"{prefix} {name}")
        elif not command.hidden:
            yield f"{prefix} {name}"


def compiled(snippet: Snippet) -> CodeType:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(snippet.text, str(snippet), "exec", flags=flags, dont_inherit=True)
    return code


def run(snippet: Snippet) -> None:
    running = eval(compiled(snippet), {"__name__": "__main__"})
    if inspect.iscoroutine(running):
        asyncio.run(running)


@pytest.fixture
def fleet_environment(local_fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment a reader would have: a fleet, and the table that the pages speak of."""
    for name, value in local_fleet.environ().items():
        monkeypatch.setenv(name, value)
    with psycopg.connect(local_fleet.environ()["DATABASE_URL"], autocommit=True) as conn:
        conn.execute("create table if not exists booking (org_id bigint, room text)")


def test_there_is_something_to_check() -> None:
    assert any(snippet.runs for snippet in PYTHON)
    assert COMMANDS


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_python_compiles(snippet: Snippet) -> None:
    compiled(snippet)


@pytest.mark.usefixtures("fleet_environment")
@pytest.mark.parametrize("snippet", [snippet for snippet in PYTHON if snippet.runs], ids=str)
def test_python_runs(snippet: Snippet) -> None:
    run(snippet)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_command_exists(command: Command) -> None:
    inert(command_line()).main(list(command.args), prog_name="pgfleet", standalone_mode=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    local = [link.partition("#")[0] for link in links(page) if not re.match(r"https?:|mailto:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_machine(page: Path) -> None:
    assert [line for line in page.read_text().splitlines() if PRIVATE.search(line)] == []


def test_every_command_is_documented() -> None:
    page = (REFERENCE / "cli.md").read_text()
    assert [name for name in command_names(command_line()) if name not in page] == []


def test_every_public_name_is_documented() -> None:
    page = (REFERENCE / "python.md").read_text()
    assert [name for name in pgfleet.__all__ if f"`{name}`" not in page] == []


def test_every_error_is_documented() -> None:
    page = (REFERENCE / "python.md").read_text()
    names = [
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    assert [name for name in names if f"`{name}`" not in page] == []
