"""The few things that pgfleet asks of the world. Adapters and runtimes implement them; the engine knows no others.

Everything here is declared `async`. The threaded face drives the same coroutines with implementations that block and
never suspend, so that each procedure is written once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from pgfleet.core.failure import Fault
from pgfleet.core.membership import Found

C = TypeVar("C")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Connector(Protocol[C]):
    """Opens and handles connections of one driver to one node, for one purpose."""

    transactional: bool
    """Whether a write lease is one transaction by itself, as the driver's users expect."""

    async def open(self, timeout_s: float) -> C:
        """A new connection, in autocommit. Raises the driver's error, or TimeoutError."""

    async def one_row(self, conn: C, sql: str) -> Sequence[Any]:
        """The first row of a statement without parameters."""

    def fetch(self, conn: C, sql: str, args: Sequence[Any]) -> Awaitable[list[Any]]:
        """All rows of one statement, as the driver gives them; none for a statement that returns no rows."""

    async def execute(self, conn: C, sql: str, args: Sequence[Any]) -> str:
        """Run one statement; the server's command tag."""

    async def begin(self, conn: C, *, read_only: bool) -> Any:
        """Open a transaction, a read-only one as REPEATABLE READ; returns what ends it."""

    async def commit(self, transaction: Any) -> None:
        """Commit what `begin` returned."""

    async def rollback(self, transaction: Any) -> None:
        """Roll back what `begin` returned."""

    async def reset(self, conn: C) -> None:
        """Take back what a caller may have left in the session."""

    async def close(self, conn: C) -> None:
        """End the session politely; never raises."""

    def sever(self, conn: C) -> None:
        """Shut the socket down, from any thread: whoever waits on it fails at once. Never blocks, never raises."""

    def abandon(self, conn: C) -> Coroutine[Any, Any, None]:
        """Cut a statement whose answer nobody wants any more: whoever waits for it fails at once. Never blocks.

        What it returns tells the server to stop, on a connection of its own and for a second at most; it never raises,
        and it still works after `conn` was dropped.
        """

    def drop(self, conn: C) -> None:
        """End a connection that nobody else uses, without a word to the server. Never blocks, never raises."""

    def is_idle(self, conn: C) -> bool:
        """Whether the connection is alive, as far as can be told without asking the server, and in no transaction."""

    def is_gone(self, conn: C) -> bool:
        """Whether the connection is known to be lost, without asking the server. It may be in a transaction."""

    def lost_with(self, conn: C, error: BaseException) -> bool:
        """Whether this is the driver's word that this connection is lost, and not another of the caller's."""

    def may_have_committed(self, transaction: Any) -> bool:
        """Whether the caller may have ended what `begin` returned by himself, as far as the driver shows."""

    def fault(self, error: BaseException) -> Fault | None:
        """What a driver's exception means; None when it is no error of the driver or the network."""


class Signal(Protocol):
    """Something one waits for and another sets, once."""

    def set(self) -> None:
        """Wake whoever waits, now or later."""

    async def wait(self, timeout_s: float) -> bool:
        """Whether it was set within `timeout_s`."""


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Forget the call, if it has not happened."""


class Spawned(Protocol):
    """Work that runs beside its caller."""

    def cancel(self) -> object:
        """End it, if that can be done: a task ends, a thread goes on."""


class Rival(Protocol[T_co]):
    """The second of a race: begun only when the first is late."""

    def begin(self) -> Coroutine[Any, Any, T_co] | None:
        """What is to run beside the first; None: nothing. Never blocks."""

    def cut(self) -> None:
        """It has lost: have it end soon. Never blocks."""

    def cut_first(self) -> None:
        """The first, which blocks its caller's thread, has lost: it fails at once. Never blocks."""

    def first_lost(self, end: Awaitable[None]) -> None:
        """The first, of a task, has lost: `end`, awaited beside the caller, cancels it. Never blocks."""


class Race(Protocol[T_co]):
    """Two ways to one answer. Awaited, it gives the answer that comes first, or raises the first one's error."""

    by_second: bool
    """Whether the second gave the answer. The first was ended then: what it used is in an unknown state."""
    first_error: Exception | None
    """What the first failed with by itself."""

    def __await__(self) -> Generator[Any, None, T_co]:
        """Run it."""


class Runtime(Protocol):
    """Tasks or threads, and the monotonic clock that they share."""

    def clock(self) -> float:
        """Seconds of a monotonic clock."""

    def lock(self) -> AbstractContextManager[Any]:
        """What guards state that is shared: a lock among threads, nothing among tasks."""

    def signal(self) -> Signal:
        """A new signal."""

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Run a short, non-blocking call in `delay_s` seconds."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> Spawned:
        """Run `work` beside the caller until it ends or the runtime closes."""

    def race(self, first: Coroutine[Any, Any, T], delay_s: float, rival: Rival[T]) -> Race[T]:
        """Run `first` in the caller's own turn, and what `rival` begins beside it if it takes longer than `delay_s`."""

    async def aside(self, call: Callable[[], T]) -> T:
        """What a blocking call returns, while everybody else goes on. To be awaited by spawned work only."""

    async def close(self, timeout_s: float) -> None:
        """Wait for all that was spawned, and end what is left after `timeout_s`."""


class Watcher(Protocol):
    """Looks at the nodes, and tells the board."""

    async def start(self, timeout_s: float) -> None:
        """Begin to watch; return when every node was looked at once, or after `timeout_s`."""

    def stop(self) -> None:
        """Let every watch end after the look it is taking."""

    def ask(self, name: str) -> Signal:
        """Look at this node at once. The signal is set when a look that was taken after this call has ended."""

    async def refresh(self, names: tuple[str, ...], timeout_s: float) -> None:
        """Look at these nodes now; return when all have answered or failed, or after `timeout_s`."""


class Discovery(Protocol):
    """Tells which servers the fleet has. Made of its address (what follows `scheme:`) and the runtime.

    A blocking implementation calls through `runtime.aside`, and bounds each call itself.
    """

    interval_s: float
    """When to ask again, in seconds: read after each answer, so it may be the answer's own TTL."""

    async def find(self) -> Sequence[Found]:
        """Every server that it knows now, never none. Raises DiscoveryError when it cannot tell."""
