"""The page of fleet.toml has every key, and its examples are taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgfleet.errors import ConfigurationError
from pgfleet.provision import file as files
from pgfleet.provision.declaration import Keys
from pgfleet.provision.file import parse_declaration
from pgfleet.provision.registry import EXTRAS, platform
from tests.docs.pages import ROOT, Snippet, snippets

PAGE = ROOT / "docs/reference/fleet-toml.md"
TEXT = PAGE.read_text()
GUIDES = TEXT + "".join(path.read_text() for path in ROOT.glob("docs/guides/*.md"))
EXAMPLES = [
    snippet
    for page in (PAGE, ROOT / "README.md", *sorted(ROOT.glob("docs/guides/*.md")))
    for snippet in snippets(page)
    if snippet.kind == "toml" and "[provider]" in snippet.text
]


class Room:
    """Takes what the examples of the general page name."""

    KEYS = Keys(frozenset({"region"}), frozenset({"instance"}), frozenset({"instance_id"}))


def test_the_example_shows_every_common_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "platform", lambda kind: Room)
    example, *_ = (snippet.text for snippet in snippets(PAGE) if snippet.kind == "toml")
    declaration = parse_declaration(example, Path("/etc/fleet.toml"))
    first = declaration.replicas[0]
    assert all(
        (declaration.register, declaration.primary["dsn_env"], first.zone, first.instance_class, first.tags)
    )
    assert first.weight == 2
    assert "dsn_file" in example


def test_the_tables_have_every_common_key_once() -> None:
    shown = re.findall(r"^\| `(\[+\w+\]+ \w+)`", TEXT.partition("## Keys of ")[0], re.MULTILINE)
    common = {
        "[fleet]": files.OF_FLEET,
        "[provider]": files.OF_PROVIDER,
        "[primary]": files.OF_PRIMARY,
        "[[replica]]": files.OF_REPLICA,
    }
    assert sorted(shown) == sorted(f"{table} {key}" for table, keys in common.items() for key in keys)


ROOMS = [kind for kind in EXTRAS if any((ROOT / "src/pgfleet/provision").glob(f"{kind}*"))]


@pytest.mark.parametrize("kind", ROOMS)
def test_the_keys_of_each_provider_are_somewhere(kind: str) -> None:
    keys = platform(kind).KEYS
    named = keys.provider | keys.primary | keys.replica
    assert [key for key in sorted(named) if not re.search(rf"\b{key}\b", GUIDES)] == []


def test_the_kinds_are_those_that_there_are() -> None:
    assert f"`{'`, `'.join(EXTRAS)}`" in TEXT


def test_the_errors_are_the_code_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "platform", lambda kind: Room)
    (shown,) = (snippet.text for snippet in snippets(PAGE) if snippet.kind == "text")
    broken = (
        '[fleet]\nname = "f"\n[provider]\nkind = "rds"\n'
        '[[replica]]\nname = "replica-1"\nzoen = "a"\n[[replica]]\nname = "replica-1"\n'
    )
    with pytest.raises(ConfigurationError) as caught:
        parse_declaration(broken, Path("/etc/fleet.toml"))
    assert "\n".join(caught.value.problems) == shown.strip()


@pytest.mark.parametrize("snippet", EXAMPLES[1:], ids=str)
def test_every_example_of_a_guide_is_taken(snippet: Snippet) -> None:
    parse_declaration(snippet.text, Path("/etc/fleet.toml"))
