"""A TCP proxy in front of one server, which fails the ways networks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

CHUNK_BYTES = 65_536
QUEUED_CHUNKS = 64
CONTROL_TIMEOUT_S = 10.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 s: closing sends RST."""


class FaultProxy:
    """Listens on a port of its own on 127.0.0.1 and forwards to `host:port`, from a thread of its own.

    A context manager, which begins by forwarding. Every control has taken effect when it returns, and may be called
    from any thread.
    """

    def __init__(self, host: str, port: int) -> None:
        self._listener = _bound_socket(0)
        self.port: int = self._listener.getsockname()[1]
        self._line = _Line((host, port))
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"fault-proxy-{self.port}", daemon=True
        )

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self.pass_through()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONTROL_TIMEOUT_S)
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._line.links)

    def dsn(self, dsn: str) -> str:
        """The same connection string, through this proxy."""
        parts = urlsplit(dsn)
        credentials, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}").geturl()

    def pass_through(self) -> None:
        """Accept, and forward at once; what `blackhole` held back goes on."""
        self._call(self._accept(is_open=True, delay_s=0.0))

    def blackhole(self) -> None:
        """Keep connections and accept new ones, forward nothing and say nothing."""
        self._call(self._accept(is_open=False, delay_s=0.0))

    def delay(self, delay_s: float) -> None:
        """Accept, and forward everything `delay_s` later, in each direction."""
        self._call(self._accept(is_open=True, delay_s=delay_s))

    def reset(self) -> None:
        """End every open connection with RST. What a new one meets does not change."""
        self._call(self._line.reset())

    def refuse(self) -> None:
        """Refuse new connections; open ones stay as they are, and the port stays this proxy's."""
        self._call(self._refuse())

    def _call(self, control: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(control, self._loop).result(CONTROL_TIMEOUT_S)

    async def _accept(self, *, is_open: bool, delay_s: float) -> None:
        self._line.switch(is_open=is_open, delay_s=delay_s)
        if self._server is None:
            self._server = await asyncio.start_server(self._line.serve, sock=self._listener)

    async def _refuse(self) -> None:
        """A socket that is bound and does not listen keeps the port, and makes the kernel refuse."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._listener = _bound_socket(self.port)

    async def _shut(self) -> None:
        await self._refuse()
        self._listener.close()
        await self._line.reset()


class _Line:
    """The way to the server, shared by all connections: open or not, and how slow."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.links: set[_Link] = set()
        self._target = target
        self._open = asyncio.Event()
        self._delay_s = 0.0

    def switch(self, *, is_open: bool, delay_s: float) -> None:
        """Set what befalls bytes that come in from now on."""
        self._delay_s = delay_s
        if is_open:
            self._open.set()
        else:
            self._open.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Look after one client until either side hangs up."""
        link = _Link(self, reader, writer)
        self.links.add(link)
        try:
            with contextlib.suppress(
                asyncio.CancelledError
            ):  # by `reset`; asyncio would print it as an error
                await link.run(self._target)
        finally:
            link.reset()
            self.links.discard(link)

    async def reset(self) -> None:
        """End all links with RST, and wait until they have ended."""
        tasks = [link.task for link in self.links]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def due_s(self) -> float:
        """When what comes in now may go on."""
        return asyncio.get_running_loop().time() + self._delay_s

    async def passes(self, due_s: float) -> None:
        """Wait until what was due at `due_s` goes on: not before, and not into a black hole."""
        if (wait_s := due_s - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(wait_s)
        await self._open.wait()


class _HungUp(Exception):
    """One side has closed, and the other has been told all it said."""


class _Link:
    """One client and its connection to the server, with a pump each way."""

    def __init__(self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a link lives in its handler's task"
        self.task = task
        self._line = line
        self._reader = reader
        self._writers = [writer]

    async def run(self, target: tuple[str, int]) -> None:
        """Connect to the server, forward until a side closes, close the other. What broke is left to `reset`."""
        try:
            await self._line.passes(self._line.due_s())
            reader, writer = await asyncio.open_connection(*target)
            self._writers.append(writer)
            async with asyncio.TaskGroup() as pumps:
                self._pump(pumps, self._reader, writer)
                self._pump(pumps, reader, self._writers[0])
        except* _HungUp:
            await self._close()
        except* OSError:
            pass

    def reset(self) -> None:
        """End with RST what is not closed yet."""
        for writer in self._writers:
            with contextlib.suppress(OSError):
                opened = writer.get_extra_info("socket")
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()

    async def _close(self) -> None:
        """End both sides with FIN, after all that was written."""
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    def _pump(
        self, pumps: asyncio.TaskGroup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_CHUNKS)
        pumps.create_task(self._take_in(reader, queue))
        pumps.create_task(self._give_out(queue, writer))

    async def _take_in(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        chunk = b"first"
        while chunk:
            chunk = await reader.read(CHUNK_BYTES)
            await queue.put((self._line.due_s(), chunk))

    async def _give_out(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due_s, chunk = await queue.get()
            await self._line.passes(due_s)
            if not chunk:
                raise _HungUp
            writer.write(chunk)
            await writer.drain()


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound
