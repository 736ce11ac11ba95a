"""Asking a cloud's API which servers there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pgfleet.clouds.failure import ApiFailure
from pgfleet.core.membership import Found
from pgfleet.errors import DiscoveryError
from pgfleet.ports import Runtime

ANSWER_S = 10.0
"""Less than provisioning takes: the next look comes soon enough."""


async def ask(
    runtime: Runtime, look: Callable[[], Sequence[Found]], cloud: str, empty: DiscoveryError
) -> Sequence[Found]:
    """What `look` finds, which blocks. Raises DiscoveryError when the cloud does not tell, `empty` for nothing."""
    try:
        found = await runtime.aside(look)
    except ApiFailure as failure:
        raise DiscoveryError(f"{cloud} tells no servers: {failure.message}", failure.hint) from failure
    if not found:
        raise empty
    return found
