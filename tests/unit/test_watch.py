from __future__ import annotations

import pytest

from pgfleet.watch import observe
from tests.fakes import VirtualRuntime, fleet_world, in_virtual_time
from tests.fakes import dsn as dsn_of


@in_virtual_time
async def test_a_sample_is_dated_before_its_question() -> None:
    """Commits made while the answer travelled are not in it; dated by its arrival it would promise them."""
    world, runtime = fleet_world(1), VirtualRuntime()
    connector = world.connector(dsn_of("primary"))
    conn = await connector.open(1.0)
    world["primary"].latency_s = 0.1
    asked_s = runtime.clock()
    seen = await observe(connector, conn, runtime)
    assert seen.asked_s == asked_s
    assert seen.answered_s == pytest.approx(asked_s + 0.1)
