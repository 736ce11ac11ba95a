"""What the pages hold: fenced snippets, the `pgfleet` commands in them, links. Read by the tests of this folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
SHELLS = frozenset({"bash", "sh", "console"})
RUN = "<!-- run -->"

_FENCE = re.compile(
    rf"^(?P<indent> *)(?P<run>{re.escape(RUN)}\n\s*)?```(?P<kind>\w+)[^\n]*\n(?P<text>.*?)^ *```", re.M | re.S
)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
_SEPARATORS = ";&|()<>"


@dataclass(frozen=True, slots=True)
class Snippet:
    """One fenced block of a page; `runs` when the page marks it as one to be executed."""

    page: Path
    line: int
    kind: str
    text: str
    runs: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """One call of `pgfleet` in a shell snippet, without the program's name."""

    snippet: Snippet
    args: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.snippet} {shlex.join(self.args)}"


def snippets(page: Path) -> Iterator[Snippet]:
    """The fenced blocks of a page that name their language."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("kind")) + 1
        dedented = re.sub(f"^{found['indent']}", "", found["text"], flags=re.M)
        yield Snippet(page, line, found["kind"], dedented, bool(found["run"]))


def all_snippets(*kinds: str) -> list[Snippet]:
    """The snippets in any of these languages, of every page."""
    return [snippet for page in PAGES for snippet in snippets(page) if snippet.kind in kinds]


def commands(snippet: Snippet) -> Iterator[Command]:
    """The calls of `pgfleet` in a shell snippet, wherever they stand in a line."""
    for line in _shell_lines(snippet):
        for call in chain.from_iterable(
            map(_calls, [*_SUBSTITUTION.findall(line), _SUBSTITUTION.sub("_", line)])
        ):
            if call and call[0].rsplit("/", 1)[-1] == "pgfleet":
                yield Command(snippet, tuple(call[1:]))


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links and images, outside its snippets."""
    prose = _FENCE.sub("", page.read_text())
    return (found[1] or found[2] for found in _LINK.finditer(prose))


def _shell_lines(snippet: Snippet) -> Iterator[str]:
    """In a `console` snippet only what follows the prompt was typed; the rest is what it printed."""
    for line in snippet.text.replace("\\\n", " ").splitlines():
        if snippet.kind == "console":
            if line.startswith("$ "):
                yield line[2:]
        else:
            yield line


def _calls(line: str) -> Iterator[list[str]]:
    """The simple commands of a line: `A=1 pgfleet status | jq .` is `pgfleet status` and `jq .`."""
    words = shlex.shlex(line, posix=True, punctuation_chars=_SEPARATORS)
    words.whitespace_split = True
    call: list[str] = []
    for word in words:
        if set(word) <= set(_SEPARATORS):
            yield call
            call = []
        elif call or not _ASSIGNMENT.match(word):
            call.append(word)
    yield call
