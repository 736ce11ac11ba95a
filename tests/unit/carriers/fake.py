"""A router that keeps the contract of sessions and tokens, over a log that is a number."""

from __future__ import annotations

from contextvars import ContextVar
from itertools import count
from threading import Lock

from pgfleet.errors import PrimaryUnavailable, TokenError, WritesLost


class FakeSession:
    """What was written in it, and how much of the log its reads must see."""

    def __init__(self, sees: int) -> None:
        self.sees = sees
        self.wrote = False
        self.ended = False


class FakeBlock:
    """`with router.session()`."""

    def __init__(self, present: ContextVar[FakeSession | None], session: FakeSession) -> None:
        self._present = present
        self._session = session

    def __enter__(self) -> FakeSession:
        self._outer = self._present.get()
        self._reset = self._present.set(self._session)
        return self._session

    def __exit__(self, *exc_info: object) -> None:
        self._present.reset(self._reset)
        session, outer = self._session, self._outer
        session.ended = True
        if outer is not None:
            outer.sees, outer.wrote = max(outer.sees, session.sees), outer.wrote or session.wrote


class FakeRouter:
    """Both faces' sessions; `token` is a face's own."""

    def __init__(self, *, strict: bool = False) -> None:
        self.sessions: list[FakeSession] = []
        self.received: list[str | None] = []
        self.issued = 0
        self.lost: set[str] = set()
        """Tokens whose writes a promotion has lost, and whose holder was not told yet."""
        self.trouble: Exception | None = None
        self._strict = strict
        self._end = count(1000)
        self._lock = Lock()
        self._present: ContextVar[FakeSession | None] = ContextVar("present", default=None)

    def session(self, after: str | None = None) -> FakeBlock:
        """Ignores what is no token, unless it is strict."""
        ours = after is not None and after.startswith("token-")
        if after is not None and not ours and self._strict:
            raise TokenError("not ours")
        if after in self.lost:
            self.lost.remove(after)
            raise WritesLost("the last writes may have been lost")
        session = FakeSession(int(after.removeprefix("token-")) if after and ours else 0)
        self.received.append(after)
        self.sessions.append(session)
        return FakeBlock(self._present, session)

    @property
    def present(self) -> FakeSession | None:
        """A session that ended is none."""
        session = self._present.get()
        return session if session is not None and not session.ended else None

    def write(self) -> int:
        """One more entry of the log, which the present session sees from now on."""
        with self._lock:
            end = next(self._end)
        if session := self.present:
            session.sees, session.wrote = end, True
        return end

    def sees(self) -> int:
        """How much of the log a read here would see for certain."""
        session = self.present
        return session.sees if session else 0

    def issue(self) -> str:
        """A token of the present session; outside of one, of everything."""
        if self.trouble:
            raise self.trouble
        self.issued += 1
        session = self.present
        return f"token-{session.sees if session else 999_999}"


class FakeAsyncRouter(FakeRouter):
    """Among tasks."""

    async def token(self) -> str:
        """As the router's."""
        return self.issue()


class FakeBlockingRouter(FakeRouter):
    """Among threads."""

    def token(self) -> str:
        """As the router's."""
        return self.issue()


NO_PRIMARY = PrimaryUnavailable("no primary answers", "look at pgfleet status")
