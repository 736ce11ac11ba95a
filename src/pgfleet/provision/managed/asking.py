"""Blocking calls of a cloud's API, beside the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pgfleet.clouds.failure import ApiFailure
from pgfleet.errors import ProvisionError

T = TypeVar("T")


async def asked(call: Callable[[], T], of_whom: str = "") -> T:
    """What a call returns. Raises ProvisionError, which begins with whom it was about."""
    try:
        return await asyncio.to_thread(call)
    except ApiFailure as failure:
        raise failed(failure, of_whom) from failure


def failed(failure: ApiFailure, of_whom: str = "") -> ProvisionError:
    """A failure of an API as an error of pgfleet."""
    message = f"{of_whom}: {failure.message}" if of_whom else failure.message
    return ProvisionError(message, failure.hint)
