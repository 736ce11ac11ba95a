"""The command line as a whole: what it needs, how it fails, how light it starts."""

from __future__ import annotations

import sys

import pytest

from pgfleet import __version__
from tests.cli.command import pgfleet, run

SECRET = "tr0ub4dor"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_its_packages_it_says_what_to_install(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from pgfleet.cli import main; main()"
    done = run([sys.executable, "-c", program, "demo", "--port", "0"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "the command pgfleet needs typer and rich: pip install 'pgfleet[all]'\n"


def test_a_missing_driver_is_told() -> None:
    program = (
        "import sys; sys.modules |= {'psycopg': None, 'asyncpg': None}; from pgfleet.cli import main; main()"
    )
    done = run([sys.executable, "-c", program, "status"], {"DATABASE_URL": "postgresql://127.0.0.1:1/x"})
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: no driver is installed: neither psycopg nor asyncpg",
        "hint: pip install 'pgfleet[all]'",
    ]


def test_version() -> None:
    done = pgfleet("--version")
    assert (done.returncode, done.stdout) == (0, f"pgfleet {__version__}\n")


def test_help_names_every_command() -> None:
    done = pgfleet("--help")
    assert done.returncode == 0
    for name in ("demo", "local", "replica", "serve", "status", "explain"):
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize(
    "args", [["staus"], ["status", "--jsno"], ["demo", "--port", "x"], ["local", "kill"]]
)
def test_misuse_is_told_without_a_trace(args: list[str]) -> None:
    done = pgfleet(*args)
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["status", "explain", "serve"])
def test_every_configuration_error_at_once_and_no_password(command: str) -> None:
    environ = {
        "DATABASE_URL": f"postgresql://app:{SECRET}@/hotel",
        "DB_MAX_IDLE_TIME": "soon",
        "READ_REPLICA_1_CONNECTION_STRING": f"mysql://app:{SECRET}@replica/hotel",
    }
    done = pgfleet(command, environ=environ)
    assert (done.returncode, done.stdout) == (2, "")
    for name in (*environ, "hint"):
        assert f"{name}: " in done.stderr
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unset_environment_names_the_variable() -> None:
    done = pgfleet("status")
    assert done.returncode == 2
    assert done.stderr.startswith("error: DATABASE_URL: is not set")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from pgfleet.cli import main\n"
        "try: main()\n"
        "finally: print(*(n for n in ('asyncpg', 'fastapi', 'psycopg', 'rich', 'uvicorn') if n in sys.modules))"
    )
    done = run([sys.executable, "-c", program, "--help"])
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == ""
