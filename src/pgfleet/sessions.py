"""The present unit of work, carried by the context through tasks, and through threads that are given a copy of it."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import NamedTuple

from pgfleet.board import Session


class _Present(NamedTuple):
    session: Session
    face: object
    """Whose session it is: another router's is none of ours."""
    outer: _Present | None


_present: ContextVar[_Present | None] = ContextVar("pgfleet_session", default=None)

any_present = _present.get
"""Whether there may be a session at all, told in the time of one call."""


def present(face: object) -> Session | None:
    """The innermost session of this router that has not ended; None: there is none."""
    held = _present.get()
    while held and (held.face is not face or held.session.ended):
        held = held.outer
    return held.session if held else None


class Scope:
    """`with router.session() as s`: the session is present within the block, and ends with it.

    A task that outlives the block, and has a copy of its context, is in no session any more.
    """

    def __init__(self, session: Session, face: object) -> None:
        self._session = session
        self._face = face
        self._reset: Token[_Present | None] | None = None

    def __enter__(self) -> Session:
        self._reset = _present.set(_Present(self._session, self._face, _present.get()))
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.ended = True
        if self._reset:
            # Left in another context than it was entered in? There it was never present.
            with suppress(ValueError):
                _present.reset(self._reset)
