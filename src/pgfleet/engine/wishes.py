"""What a caller says of one read -> the intent that the board plans by."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal, TypedDict

from pgfleet.board import Board, Session
from pgfleet.core.intent import CONSISTENCIES, PLAIN, Consistency, ReadIntent, of_org
from pgfleet.core.position import Watermark
from pgfleet.engine.losses import Losses
from pgfleet.engine.tokens import Tokens
from pgfleet.ports import Runtime
from pgfleet.settings.kinds import UNKNOWN_STALENESS, UNQUALIFIED


class ReadOptions(TypedDict, total=False):
    """What one read may ask for."""

    org_id: Hashable
    """It sees all that this org wrote through this router."""
    prefer_replica: bool
    """False: the primary."""
    max_lag_s: float | None
    """It is at most this stale, in seconds."""
    max_lag_bytes: int | None
    """The primary was at most so many bytes of the log ahead when it was last asked, a second ago at most."""
    after: str | None
    """A token of `router.token()`: it sees all that the token covers."""
    consistency: Consistency | None
    """`strong`: the primary. `session`: what the present session, org or token must see. `bounded`: the bound alone.
    `eventual`: any replica of this cluster, however stale. None: all that applies."""
    unqualified: Literal["primary", "wait", "error"] | None
    """When no replica qualifies: the primary, a wait for one, or NoReplica; None: as PGFLEET_UNQUALIFIED says."""
    unknown: Literal["closed", "open"] | None
    """Whether a replica of unknown staleness will do: `open`; None: as PGFLEET_UNKNOWN says."""


@dataclass(frozen=True, kw_only=True)
class SessionRead(ReadIntent):
    """A read of a session: it is told where it went."""

    session: Session


class Wishes:
    """Reads what callers say. `tells` False: nothing comes of it, so nobody counts as told what he has lost."""

    def __init__(self, board: Board[Any], tokens: Tokens, runtime: Runtime, *, tells: bool = True) -> None:
        self._tells = tells
        self._board = board
        self._tokens = tokens
        self._lock_of = runtime.lock
        self._clock = runtime.clock

    def intent(
        self,
        session: Session | None = None,
        *,
        org_id: Hashable = None,
        prefer_replica: bool = True,
        max_lag_s: float | None = None,
        max_lag_bytes: int | None = None,
        after: str | None = None,
        consistency: Consistency | None = None,
        unqualified: str | None = None,
        unknown: str | None = None,
    ) -> ReadIntent:
        """What such a read, in this session, asks for. Raises ValueError, TokenError, WritesLost."""
        _check(max_lag_s, max_lag_bytes, consistency, unqualified, unknown)
        if consistency == "session" and session is None and org_id is None and after is None:
            raise ValueError('consistency="session" needs a session, an org_id, or a token (`after`)')
        if consistency in ("bounded", "eventual"):
            session, org_id, after = None, None, None
        losses = Losses(self._board)
        mark_s = self._mark_s(org_id, session, losses)
        position = self._after(after, session, losses)
        self._tell(losses)
        if unknown is None and consistency == "eventual":
            unknown = "open"
        bounds: dict[str, Any] = {
            "prefer_replica": prefer_replica and consistency != "strong",
            "max_lag_s": inf if consistency == "eventual" else max_lag_s,
            "max_lag_bytes": max_lag_bytes,
            "not_before_s": mark_s or None,
            "org_id": org_id if mark_s else None,
            "after": position,
            "takes_unknown": None if unknown is None else unknown == "open",
            "unqualified": unqualified,
        }
        if session:
            return SessionRead(**bounds, seat=session.seat(self._clock()), session=session)
        intent = ReadIntent(**bounds)
        return PLAIN if intent == PLAIN else intent

    def org(self, org_id: Hashable) -> ReadIntent:
        """The same of an org alone, the usual read."""
        mark_s = self._board.writes.marks.last_write_s(org_id)
        if not mark_s:
            return PLAIN
        if mark_s <= self._board.lineage_settled_s:
            mark_s = self._told_mark_s(org_id, None)
        return of_org(org_id, mark_s)

    def renewed(self, intent: ReadIntent) -> ReadIntent:
        """The same read after a promotion. Raises WritesLost, when that may have lost what the read must see."""
        session = intent.session if isinstance(intent, SessionRead) else None
        losses = Losses(self._board)
        if intent.not_before_s:
            self._mark_s(intent.org_id, session, losses)
        is_had = intent.after is not None and losses.is_had(intent.after)
        self._tell(losses)
        return replace(intent, after=None) if is_had else intent

    def session(self, outer: Session | None, after: str | None) -> Session:
        """A session within another one, or in none. Raises ConfigurationError, TokenError, WritesLost."""
        return Session(self._lock_of(), self._told_after(after, outer), outer)

    # what must be seen

    def _told_mark_s(self, org_id: Hashable, session: Session | None) -> float:
        losses = Losses(self._board)
        mark_s = self._mark_s(org_id, session, losses)
        self._tell(losses)
        return mark_s

    def _told_after(self, token: str | None, session: Session | None) -> Watermark | None:
        losses = Losses(self._board)
        after = self._after(token, session, losses)
        self._tell(losses)
        return after

    def _mark_s(self, org_id: Hashable, session: Session | None, losses: Losses) -> float:
        """The moment that a read must see, of what its org and its session have written; 0.0: there is none."""
        marks_s = [0.0]
        if org_id is not None:
            org_s = self._board.writes.marks.last_write_s(org_id)
            marks_s.append(losses.survived_s(org_s, f"org {org_id!r}", hash(org_id)))
        if session:
            marks_s.append(losses.survived_s(session.last_write_s, "this session", session.unit))
        return max(marks_s)

    def _after(self, token: str | None, session: Session | None, losses: Losses) -> Watermark | None:
        """The position that a read must see, by its token or its session; None: every candidate has it."""
        said = None if token is None else self._tokens.read(token)
        carried = session.after if session else None
        wanted = [mark for mark in (said, carried) if mark and not losses.is_had(mark)]
        return max(wanted, key=_place, default=None)

    def _tell(self, losses: Losses) -> None:
        if self._tells:
            losses.tell()

    # what is handed on

    async def token(self, org_id: Hashable, session: Session | None) -> str:
        """A token of what the org or the session must see; of neither: of all that is committed by now.

        Raises ConfigurationError, PrimaryUnavailable, WritesLost.
        """
        if org_id is None and session is None:
            return self._tokens.sign(await self._tokens.watermark(self._clock()))
        mark_s, after = self._told_mark_s(org_id, session), self._told_after(None, session)
        if not mark_s and after:
            return self._tokens.sign(after)
        found = await self._tokens.watermark(mark_s)
        self._told_mark_s(org_id, session)  # another server may have been promoted meanwhile
        return self._tokens.sign(max(found, after or found, key=_place))


def _place(watermark: Watermark) -> tuple[int, int]:
    return watermark.timeline, watermark.lsn


def _check(
    max_lag_s: float | None,
    max_lag_bytes: int | None,
    consistency: str | None,
    unqualified: str | None,
    unknown: str | None,
) -> None:
    if max_lag_s is not None and not max_lag_s > 0:
        raise ValueError(
            f"max_lag_s must be above 0, not {max_lag_s!r}; prefer_replica=False reads the primary"
        )
    if max_lag_bytes is not None and (type(max_lag_bytes) is not int or max_lag_bytes < 0):
        raise ValueError(f"max_lag_bytes must be a whole number from 0, not {max_lag_bytes!r}")
    _check_word("consistency", consistency, CONSISTENCIES)
    _check_word("unqualified", unqualified, UNQUALIFIED)
    _check_word("unknown", unknown, UNKNOWN_STALENESS)


def _check_word(name: str, value: str | None, words: tuple[str, ...]) -> None:
    if value is not None and value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, not {value!r}")
