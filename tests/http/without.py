"""`python -m tests.http.without psycopg,fastapi serve ...`: the command line where these are not installed."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any

from pgfleet.cli import main


class Missing(MetaPathFinder):
    """Finds that a package is not there."""

    def __init__(self, packages: list[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, Missing(sys.argv.pop(1).split(",")))
    main()
