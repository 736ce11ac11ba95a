"""Whoever breaks a fleet for the checklist leaves nothing of it broken that can be mended."""

from __future__ import annotations

from typing import Any

import pytest

from pgfleet.errors import LocalFleetError
from pgfleet.verify.breaking import LocalBreaker


class Cluster:
    """A local fleet whose first replica does not start any more."""

    def __init__(self) -> None:
        self.down: set[str] = set()

    def kill(self, name: str) -> None:
        self.down.add(name)

    def start(self, name: str) -> None:
        if name == "replica-1":
            raise LocalFleetError("replica-1 does not start")
        self.down.remove(name)


async def test_one_that_does_not_start_keeps_no_other_down() -> None:
    cluster: Any = Cluster()
    breaker = LocalBreaker(cluster, ("replica-1", "replica-2", "replica-3"))
    await breaker.stop()
    with pytest.raises(LocalFleetError, match="replica-1 does not start"):
        await breaker.start()
    assert cluster.down == {"replica-1"}
