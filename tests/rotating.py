"""A TCP proxy in front of several servers, as a reader endpoint or HAProxy: each new connection goes to the next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from urllib.parse import urlsplit

CONTROL_TIMEOUT_S = 10.0


class RotatingProxy:
    """Listens on a free port of 127.0.0.1 and leads each new connection to the next of `ports`."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = 0
        self.accepted = 0
        """Connections so far."""
        self.lead_to(*ports)
        self._tasks: set[asyncio.Task[None]] = set()

    def lead_to(self, *ports: int) -> None:
        """New connections go there from now on; those that are open stay where they are."""
        self._turns = cycle(ports)

    def dsn(self, dsn: str) -> str:
        """The same connection string, through this proxy."""
        parts = urlsplit(dsn)
        credentials, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}").geturl()

    async def serve(self, ended: asyncio.Event, ready: threading.Event) -> None:
        """Accept until `ended`, then cut what is open."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await ended.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted closes in the next turn of the loop

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.ensure_future(self._join(reader, writer, next(self._turns)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        writers = [writer]
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writers.append(back)
            ways = [asyncio.ensure_future(way) for way in (_pump(reader, back), _pump(there, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # nobody listens there
        finally:
            for open_writer in writers:
                open_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()


@contextmanager
def rotating(*ports: int) -> Iterator[RotatingProxy]:
    """Such a proxy, from a thread of its own."""
    proxy, ended, ready = RotatingProxy(ports), asyncio.Event(), threading.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        loop.run_until_complete(proxy.serve(ended, ready))
        loop.close()

    thread = threading.Thread(target=run, name="rotating-proxy", daemon=True)
    thread.start()
    assert ready.wait(CONTROL_TIMEOUT_S)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(CONTROL_TIMEOUT_S)
