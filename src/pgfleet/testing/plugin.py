"""The pytest plugin that comes with pgfleet. It starts nothing, and imports nothing heavy, until a test asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pgfleet.local import LocalFleet


@pytest.fixture(scope="session")
def local_fleet() -> Iterator[LocalFleet]:
    """A primary and three streaming replicas for the whole session; afterwards nothing of them is left.

    `monkeypatch.setenv(*pair) for pair in local_fleet.environ().items()` points an application at them.
    """
    from pgfleet.local import LocalFleet

    with LocalFleet.temporary() as fleet:
        yield fleet
