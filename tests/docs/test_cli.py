"""The page of the command line has every command, with every option of it, and nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from pgfleet.cli.app import app
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/reference/cli.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
HELP = {"--help", "-h"}


def commands(group: TyperGroup, prefix: str = "pgfleet") -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{prefix} {name}")
        else:
            assert isinstance(command, TyperCommand)
            yield f"{prefix} {name}", command


def root() -> TyperGroup:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


COMMANDS = dict(commands(root()))


def section(name: str) -> str:
    """`pgfleet local kill` stands with its siblings under `pgfleet local`."""
    return SECTIONS[" ".join(name.split()[:2])]


def options(command: TyperCommand | TyperGroup) -> set[str]:
    given = (option for option in command.params if isinstance(option, TyperOption))
    return {name for option in given for name in (*option.opts, *option.secondary_opts)} - HELP


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_and_its_options_stand_in_its_section(name: str) -> None:
    text = section(name)
    assert name in text
    assert {option for option in options(COMMANDS[name]) if f"`{option}`" not in text} == set()


def test_no_section_speaks_of_an_option_that_is_not_there() -> None:
    known: dict[str, set[str]] = {}
    for name, command in COMMANDS.items():
        known.setdefault(" ".join(name.split()[:2]), set()).update(options(command))
    for title, text in SECTIONS.items():
        assert set(re.findall(r"^\| `(--[\w-]+)`", text, re.MULTILINE)) <= known[title]


def test_the_options_of_pgfleet_itself_are_there() -> None:
    introduction = PAGE.partition("\n## ")[0]
    assert {name for name in options(root()) | HELP if f"{name}" not in introduction} == set()


def test_the_defaults_are_the_code_s() -> None:
    for name, command in COMMANDS.items():
        for option in command.params:
            if not isinstance(option, TyperOption) or option.default is None:
                continue
            if option.opts[0] in ("--port", "--replicas", "--host"):
                cells = re.search(rf"^\| `{option.opts[0]}`.*\| (\S+) \|$", section(name), re.MULTILINE)
                assert cells, (name, option.opts)
                assert cells[1] == str(option.default)
