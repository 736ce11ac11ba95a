"""Unit tests take values and give values: whoever sleeps or opens a socket in here is in the wrong room."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest


class ForbiddenInUnitTests(AssertionError):
    """A unit test reached for the clock's patience or for the network."""


def pytest_collection_finish() -> None:
    """Two thousand collected tests are searched for garbage no more: that cost a tenth of the suite's time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _no_sleep(seconds: float) -> NoReturn:
    raise ForbiddenInUnitTests(f"time.sleep({seconds}): wait for nothing in a unit test")


_asyncio_sleep = asyncio.sleep


async def _yield_only(delay: float, result: Any = None) -> Any:
    if delay > 0:
        raise ForbiddenInUnitTests(f"asyncio.sleep({delay}): only asyncio.sleep(0) in a unit test")
    return await _asyncio_sleep(delay, result)


def _no_network(self: socket.socket, *_: Any) -> NoReturn:
    raise ForbiddenInUnitTests("a unit test reached for the network")


@pytest.fixture(scope="session", autouse=True)
def no_sleep_no_socket() -> Iterator[None]:
    """Forbid sleeping, and connecting or listening anywhere.

    A loop's own self-pipe is a socketpair, which neither connects nor listens, so loops work as ever.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(time, "sleep", _no_sleep)
        monkeypatch.setattr(asyncio, "sleep", _yield_only)
        for reach in ("connect", "connect_ex", "bind", "listen", "sendto"):
            monkeypatch.setattr(socket.socket, reach, _no_network)
        monkeypatch.setattr(socket, "getaddrinfo", _no_network)
        yield
