"""The monitoring API in the demo's own process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pgfleet.cli.web import web_server


@asynccontextmanager
async def serving(api: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Answer on the socket for the length of the block. Ctrl-C is the demo's."""
    server = web_server(api)
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await running
