"""The fleet file as an editor sees it: changed as a whole, by one at a time, and only into one that stands.

It needs tomlkit, which no router needs: whoever edits imports this file, the room itself does not.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import tomlkit
from tomlkit import TOMLDocument

from pgfleet.errors import ConfigurationError, PgfleetError, UnknownNode
from pgfleet.settings import NodeSettings
from pgfleet.settings.environment import read_environment
from pgfleet.settings.fleet_file import parse_fleet
from pgfleet.settings.node import fleet_problems
from pgfleet.settings.source import read_text
from pgfleet.settings.variables import FLEET_FILE

HEADER = "# The replicas that every pgfleet process with this PGFLEET_FLEET_FILE uses. It holds passwords.\n"
SHARED = 0o660
"""The most that an existing file keeps of its mode: nothing of it is for everybody."""


class FleetDocument:
    """What stands in the file, to be changed. `environ`: the replicas of the environment stand beside it."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = {name: text for name, text in environ.items() if not name.startswith(FLEET_FILE)}
        self._text = _read(path)
        self._parse(self._text)
        self._document: TOMLDocument = tomlkit.parse(self._text)

    def names(self) -> list[str]:
        """The replicas of the file, in order."""
        return [str(table["name"]) for table in self._tables()]

    def add(self, values: Mapping[str, Any], before: Collection[str] = ()) -> None:
        """A replica with these keys, before the first that is called so, or else behind all others."""
        table = tomlkit.table()
        table.update(values)
        table.add(tomlkit.nl())
        if not self._tables():
            self._document.pop("replica", None)
            self._document.add(tomlkit.nl())
            self._document.add("replica", tomlkit.aot())
        places = [place for place, name in enumerate(self.names()) if name in before]
        self._tables().insert(places[0] if places else len(self.names()), table)

    def change(self, name: str, values: Mapping[str, Any]) -> None:
        """Give a replica these keys; what it has besides stays. Raises UnknownNode."""
        self._tables()[self._index(name)].update(values)

    def drain(self, name: str, drained: bool) -> bool:
        """Whether this changes anything. Raises UnknownNode."""
        table = self._tables()[self._index(name)]
        if bool(table.get("drain", False)) is drained:
            return False
        if drained:
            table["drain"] = True
        else:
            del table["drain"]
        return True

    def remove(self, name: str) -> None:
        """Take a replica out. Raises UnknownNode."""
        del self._tables()[self._index(name)]
        if not self._tables():
            del self._document["replica"]

    def replicas(self) -> tuple[NodeSettings, ...]:
        """All of them as they stand now. Raises ConfigurationError with everything that would be wrong."""
        return self._check(tomlkit.dumps(self._document))

    def save(self) -> None:
        """Put it in the place of the file, if it differs. Raises ConfigurationError, and PgfleetError for the file."""
        text = tomlkit.dumps(self._document)
        self._check(text)
        if text != self._text or not self._path.exists():
            _replace(self._path, text)

    def _tables(self) -> Any:
        return self._document.get("replica", [])

    def _index(self, name: str) -> int:
        names = self.names()
        if name in names:
            return names.index(name)
        there = f"It has {', '.join(names)}" if names else "It has none yet"
        elsewhere = "those of the environment and of discovery are drained by router.drain(), in each process"
        raise UnknownNode(f"no replica of {self._path} is called {name!r}", f"{there}; {elsewhere}.")

    def _check(self, text: str) -> tuple[NodeSettings, ...]:
        replicas = self._parse(text)
        fields, _ = read_environment(self._environ)
        self._refuse(tuple(fleet_problems(fields["primary"], (*fields["replicas"], *replicas))))
        return replicas

    def _parse(self, text: str) -> tuple[NodeSettings, ...]:
        replicas, problems = parse_fleet(text, str(self._path.parent))
        self._refuse(problems)
        return replicas

    def _refuse(self, problems: tuple[str, ...]) -> None:
        if problems:
            raise ConfigurationError(problems, f"Nothing was changed in {self._path}.")


@contextmanager
def editing(path: Path, environ: Mapping[str, str]) -> Iterator[FleetDocument]:
    """The file for one editor alone; saved when the block ends well."""
    import fcntl

    try:
        folder = os.open(path.parent, os.O_RDONLY)  # the file itself is another one after each edit
    except OSError as error:
        raise _cannot(path, error) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        document = FleetDocument(path, environ)
        yield document
        document.save()
    finally:
        os.close(folder)


def _read(path: Path) -> str:
    """What stands there; in a file that is not there yet, only what it is for."""
    try:
        return read_text(str(path), 1 << 20) + "\n" if path.stat().st_size else HEADER
    except FileNotFoundError:
        return HEADER
    except OSError as error:
        raise _cannot(path, error) from None
    except ValueError as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeError) else str(error)
        raise ConfigurationError((f"{FLEET_FILE}: {reason}",)) from None


def _replace(path: Path, text: str) -> None:
    """Write another file and rename it, so that nobody ever reads one half. It stays whose it is."""
    try:
        before = path.stat() if path.exists() else None
        with NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as new:
            try:
                new.write(text)
                new.flush()
                if before:
                    os.fchown(new.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(new.fileno(), stat.S_IMODE(before.st_mode) & SHARED | 0o600)
                os.fsync(new.fileno())
                os.replace(new.name, path)
            except BaseException:
                os.unlink(new.name)
                raise
    except OSError as error:
        raise _cannot(path, error) from None


def _cannot(path: Path, error: OSError) -> PgfleetError:
    return PgfleetError(
        f"{path} cannot be edited: {error.strerror}",
        "Its directory must be there, and it and the file must be yours to write.",
    )
