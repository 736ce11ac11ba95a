"""A router's session, opened for a request or a job with the token that came with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import Context, ContextVar, copy_context
from contextvars import Token as Reset
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from pgfleet.errors import TokenError, WritesLost


class Session(Protocol):
    """What carriers ask of a session."""

    @property
    def wrote(self) -> bool:
        """Whether anything was written in it."""


class Router(Protocol):
    """What carriers ask of a router of either face."""

    def session(self, after: str | None = None) -> AbstractContextManager[Session]:
        """A session whose reads see what the token `after` covers."""


class AsyncRouter(Router, Protocol):
    """What carriers among tasks ask of a router: an AsyncReplicaRouter."""

    async def token(self) -> str:
        """The token of the present session."""


class BlockingRouter(Router, Protocol):
    """What carriers among threads ask of a router: a ReplicaRouter."""

    def token(self) -> str:
        """The token of the present session."""


R = TypeVar("R", bound=Router)

Found: TypeAlias = R | Callable[[], R]
"""A router, or what returns the one that is open by now."""


@dataclass(frozen=True, slots=True)
class Opened(Generic[R]):
    """A session that is open, and what it began with."""

    router: R
    session: Session
    after: str | None
    """The token that it was opened with; None: without one, or the one that came covers nothing."""
    lost: bool
    """Whether a promotion has lost what the token that came was to cover: it is to be replaced."""
    context: Context
    """Where it is the present session, whatever sessions the application opens inside it."""

    @property
    def has_news(self) -> bool:
        """Whether whoever holds the token that came is to get another one."""
        return self.lost or self.session.wrote


_present: ContextVar[Opened[Any] | None] = ContextVar("pgfleet_carrier", default=None)


def found(router: Found[R]) -> R:
    """The router itself."""
    return router() if callable(router) else router


def present(router: R) -> Opened[R] | None:
    """The session that a carrier has opened on this router around the code that asks."""
    opened = _present.get()
    return opened if opened is not None and opened.router is router else None


class Opening(Generic[R]):
    """`with Opening(router, token) as opened`: a session on this router for the block.

    A token that is not ours comes from outside, and is no error of this request, whatever `PGFLEET_TOKEN_ERRORS` says.
    Nor is one whose writes a promotion has lost: the router has logged it, and each of many processes would fail once.
    A class, because a generator that nobody closes would end the session wherever the collector finds it.
    """

    def __init__(self, router: R, after: str | None) -> None:
        self._router = router
        self._after = after

    def __enter__(self) -> Opened[R]:
        lost = False
        try:
            session = self._begin(self._after)
        except (TokenError, WritesLost) as error:
            lost = isinstance(error, WritesLost)
            self._after, session = None, self._begin(None)
        opened = Opened(self._router, session, self._after, lost, copy_context())
        self._reset = _present.set(opened)
        return opened

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _present.reset(self._reset)
        self._block.__exit__(kind, error, trace)

    def _begin(self, after: str | None) -> Session:
        self._block = self._router.session(after)
        return self._block.__enter__()

    _block: AbstractContextManager[Session]
    _reset: Reset[Opened[Any] | None]
