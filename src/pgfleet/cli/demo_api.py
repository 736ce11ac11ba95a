"""The monitoring API in the demo's own process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    """Leaves Ctrl-C to the demo."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # it is a generator there
        return nullcontext()


@asynccontextmanager
async def serving(api: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Answer on the socket for the length of the block."""
    server = _Server(uvicorn.Config(api, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await running
