"""How a command that runs for long ends: Ctrl-C, a request to end, a terminal that is closed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_as_ctrl_c() -> Iterator[None]:
    """A request to end, or a terminal that is closed, ends the command as Ctrl-C does."""
    before = {number: signal.signal(number, _press_ctrl_c) for number in ENDINGS}
    # A shell starts what it puts in the background with SIGINT ignored.
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not stop the tidying up."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (*ENDINGS, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _press_ctrl_c(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)
