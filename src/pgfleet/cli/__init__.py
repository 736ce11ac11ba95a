"""The command `pgfleet`. Importing this needs neither typer nor rich; running it does."""

from __future__ import annotations

import sys

_NEEDED = frozenset(("typer", "rich", "tomlkit"))


def main() -> None:
    """Run the command line. Exit code 0: good, 1: a finding, 2: it could not be done."""
    try:
        from pgfleet.cli.app import app

        app(prog_name="pgfleet")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write("the command pgfleet needs typer and rich: pip install 'pgfleet[all]'\n")
        raise SystemExit(2) from None
