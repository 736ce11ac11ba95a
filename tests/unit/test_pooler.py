"""Whether a pooler leads to the server that was probed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgfleet.faults import first_line, network_fault
from pgfleet.watch.pooler import LeadsElsewhere, check_same_server
from tests.unit.core.observations import saw_replica

SEEN = saw_replica(1.0, 100)


def test_the_same_life_of_the_same_server_passes() -> None:
    check_same_server(SEEN, replace(SEEN, asked_s=SEEN.asked_s + 1))
    check_same_server(None, SEEN)


@pytest.mark.parametrize("change", [{"system_id": 8}, {"incarnation": "another"}])
def test_another_server_or_another_life_of_it_does_not(change: dict[str, Any]) -> None:
    with pytest.raises(LeadsElsewhere, match="leads to another server") as caught:
        check_same_server(SEEN, replace(SEEN, **change))
    fault = network_fault(caught.value)
    assert fault
    assert fault.lost


def test_a_pooler_that_nobody_spoke_of_is_called_by_its_name() -> None:
    refused = ConnectionError("FATAL:  unsupported startup parameter: options\nmore")
    assert first_line(refused).endswith(
        "options; that is a pooler: set PGFLEET_POOLER=transaction and the nodes' probe addresses"
    )
    assert first_line(ConnectionError("Connection refused")) == "Connection refused"
