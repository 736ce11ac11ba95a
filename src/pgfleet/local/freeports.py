"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator

from pgfleet.errors import LocalFleetError

LOWEST_PORT = 10_000
HIGHEST_PORT = 32_000
"""Below the range from which the kernel takes ports for outgoing connections: one of those could hold the port of a
server that is down for a moment."""

ATTEMPTS = 1_000


@contextlib.contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Free ports, kept from others until the block ends. Raises LocalFleetError when there are not so many."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_bound_socket()) for _ in range(count)]
        yield [bound.getsockname()[1] for bound in sockets]


def _bound_socket() -> socket.socket:
    for _ in range(ATTEMPTS):
        candidate = socket.socket()
        try:
            candidate.bind(("127.0.0.1", LOWEST_PORT + secrets.randbelow(HIGHEST_PORT - LOWEST_PORT)))
        except OSError:
            candidate.close()
        else:
            return candidate
    raise LocalFleetError("no free TCP port on 127.0.0.1", f"free one from {LOWEST_PORT} to {HIGHEST_PORT}")
