"""One reading of the environment: texts from variables and from the files they name, and what was wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pgfleet.settings.dsn import Dsn
from pgfleet.settings.kinds import Kind

FILE = "_FILE"
LONGEST_FILE = 65_536
"""Characters of a `NAME_FILE`: no setting is longer, and some devices never end."""


class Source:
    """An environment. A blank variable counts as unset; a wrong one is None, with its complaint in `problems`."""

    def __init__(self, environ: Mapping[str, str], suffix: str = FILE) -> None:
        self._environ = environ
        self._suffix = suffix
        self.problems: dict[str, str] = {}

    def names(self) -> Iterator[str]:
        """The variables that are not blank."""
        return (name for name, text in self._environ.items() if text.strip())

    def is_blank(self, name: str) -> bool:
        """Whether the variable, or its `NAME_FILE`, is there and says nothing."""
        texts = [self._environ[key] for key in (name, name + self._suffix) if key in self._environ]
        return bool(texts) and not any(text.strip() for text in texts)

    def value(self, name: str, kind: Kind) -> Any:
        """What a variable means, or None."""
        text = self._text(name)
        try:
            return None if text is None else kind.parse(text)
        except ValueError as error:
            self.problems[name] = str(error)
            return None

    def dsn(self, name: str) -> Dsn | None:
        """The connection string of a variable, or None."""
        text = self._text(name)
        try:
            return None if text is None else Dsn.parse(text, name)
        except ValueError as error:
            self.problems[name] = str(error).removeprefix(f"{name}: ")
            return None

    def _text(self, name: str) -> str | None:
        text, path = self._environ.get(name, ""), self._environ.get(name + self._suffix, "")
        if text.strip() and path.strip():
            self.problems[name] = f"is set, and {name}{self._suffix} too; keep one of them"
            return None
        return self._contents(name, path) if path.strip() else text if text.strip() else None

    def _contents(self, name: str, path: str) -> str | None:
        try:
            text = read_text(path)
        except OSError as error:
            self.problems[name + self._suffix] = (
                f"cannot be read ({error.strerror}); write the path of a readable file"
            )
        except ValueError as error:  # a UnicodeDecodeError would quote the file
            reason = "is not UTF-8" if isinstance(error, UnicodeError) else str(error)
            self.problems[name + self._suffix] = (
                f"{reason}; write the path of a file that holds the value alone"
            )
        else:
            return text
        return None


def read_text(path: str, longest: int = LONGEST_FILE) -> str:
    """What a file holds, without a newline at its end. Raises OSError, and ValueError when it is no text to use."""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read(longest + 1)
    if len(text) > longest:
        raise ValueError("names a file that is too long")
    if not text.strip():
        raise ValueError("names an empty file")
    return text.removesuffix("\n").removesuffix("\r")
