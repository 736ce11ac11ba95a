"""A pooler in front of a server: the probes pass by it, so the way through it is tried by itself."""

from __future__ import annotations

from typing import TypeVar

from pgfleet.core.node import Observation
from pgfleet.ports import Connector, Runtime
from pgfleet.watch.watch import observe

C = TypeVar("C")


class LeadsElsewhere(ConnectionError):
    """Behind the pooler stands another server, or another life of it, than the one that the probe saw."""


def check_same_server(probed: Observation | None, through: Observation) -> None:
    """Raises LeadsElsewhere when the pooler leads to another server than the probe, or to another life of it."""
    if probed and (probed.system_id, probed.incarnation) != (through.system_id, through.incarnation):
        raise LeadsElsewhere(
            "its pooler leads to another server than its probe address, or to one that restarted"
        )


async def try_pooler(
    connector: Connector[C], probed: Observation, runtime: Runtime, timeout_s: float
) -> None:
    """Go through the pooler once. Raises LeadsElsewhere, or what the driver raises when there is no way."""
    conn = await connector.open(timeout_s)
    timer = runtime.call_later(timeout_s, lambda: connector.sever(conn))
    try:
        through = await observe(connector, conn, runtime)
    finally:
        timer.cancel()
        connector.drop(conn)
    check_same_server(probed, through)
