"""Real fleets for every kind of test that needs one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgfleet.local import LocalFleet
from pgfleet.local.binaries import installations
from pgfleet.testing import eventually
from tests import examples

__all__ = ["eventually", "examples"]

INSTALLATIONS: list[Path | None] = [*installations()] or [None]
IDS = [path.parent.name if path else "missing" for path in INSTALLATIONS]


LONG = (
    "test_drill", "test_consistency", "test_new_primary", "test_patroni",
    "test_selfhosted", "test_local_failover", "test_provision_local", "test_local_lifecycle", "test_staleness",
    "test_bench", "test_demo", "test_timelines", "test_selfhosted_debian",
)  # fmt: skip
"""Those that take a minute of a worker."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first: a worker that takes one of them last leaves the others with nothing to do."""
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    """A fleet of the module's own, for tests that destroy; whoever breaks a node mends it."""
    with LocalFleet.temporary() as fleet:
        yield fleet


@pytest.fixture(scope="module", params=INSTALLATIONS, ids=IDS)
def any_fleet(request: pytest.FixtureRequest) -> Iterator[LocalFleet]:
    """The same on each PostgreSQL that is installed: the wheel's, and every Debian package's."""
    pg_bin: Path | None = request.param
    with LocalFleet.temporary(pg_bin=pg_bin) as fleet:
        yield fleet
