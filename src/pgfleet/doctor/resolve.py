"""Names to addresses, with a deadline that holds.

The system's resolver may take half a minute to give up, and the loop's own threads would keep the command from ending
so long. These are daemons: nobody waits for them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from contextlib import suppress


def is_name(host: str) -> bool:
    """Whether a host has to be looked up: it is no address and no socket."""
    if host.startswith(("/", "@")):
        return False
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return False


async def resolve(host: str, port: int) -> str:
    """The first address of a name. Raises what the system raises: gaierror, UnicodeError."""
    if not is_name(host):
        return host
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            _tell(loop, _unless_done(answer, answer.set_exception), error)
        else:
            _tell(loop, _unless_done(answer, answer.set_result), str(found[0][4][0]))

    threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
    return await answer


def _unless_done(answer: asyncio.Future[str], call: Callable[..., None]) -> Callable[..., None]:
    def tell(value: object) -> None:
        if not answer.done():
            call(value)

    return tell


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], value: object) -> None:
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(call, value)
