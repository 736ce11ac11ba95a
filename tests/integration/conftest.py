"""Fleets for tests that say, one by one, on which PostgreSQL they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from pgfleet.local import LocalFleet


@pytest.fixture(scope="module")
def fleets() -> Iterator[Callable[[Path | None], LocalFleet]]:
    """By the directory of the binaries a fleet of the module's own, started when it is first asked for."""
    with ExitStack() as stack:
        yield cache(lambda pg_bin: stack.enter_context(LocalFleet.temporary(pg_bin=pg_bin)))


@pytest.fixture
def placed_fleet(fleets: Callable[[Path | None], LocalFleet], pg_bin: Path | None) -> LocalFleet:
    """The fleet of a test that is marked `placed`."""
    return fleets(pg_bin)
