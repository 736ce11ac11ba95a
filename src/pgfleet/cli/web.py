"""A web server of ours: the socket that it takes before anything else is done, and uvicorn on it."""

from __future__ import annotations

import errno
import socket
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pgfleet.errors import DriverMissing, PgfleetError

BACKLOG = 128
STOP_TIMEOUT_S = 2

_IN_USE = "Give another port with --port; `ss -ltnp` shows who has this one."
_HINTS = {
    errno.EADDRINUSE: _IN_USE,
    errno.EACCES: "Ports below 1024 need a privilege: give a higher one with --port.",
}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PgfleetError with the next step."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "Give an address of this machine with --host.")
        raise PgfleetError(f"cannot listen on {host}:{port}: {error.strerror}", hint) from None
    # Its connections inherit it. asyncio would not see that they are TCP, and each answer would wait 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def web_server(app: Any) -> Any:
    """uvicorn, which leaves signals to its caller and leaves nothing open. Raises DriverMissing."""
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise DriverMissing("serving needs uvicorn", "pip install 'pgfleet[server]'") from error

    class Server(uvicorn.Server):
        def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # a generator there
            return nullcontext()

    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
    )
