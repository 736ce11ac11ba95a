"""What one read asks for."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from pgfleet.core.position import Watermark

Consistency = Literal["strong", "session", "bounded", "eventual"]
CONSISTENCIES: tuple[str, ...] = get_args(Consistency)


@dataclass(frozen=True, slots=True)
class Seat:
    """The server that a session reads: in one life of it nothing that was seen there is ever unseen."""

    name: str
    incarnation: str
    until_s: float = inf
    """What was seen there was visible at this moment at the latest: whoever covers it shows no less."""
    sights: int = 0
    """How often the session had seen something by then."""

    @property
    def at(self) -> tuple[str, str]:
        """Its name, and the life of the server."""
        return self.name, self.incarnation


@dataclass(frozen=True)
class ReadIntent:
    """What one read asks for beyond its SQL.

    Without slots, so that what it does not ask for is the class's: the usual one is made in a fifth of the time.
    """

    prefer_replica: bool = True
    max_lag_s: float | None = None
    """Strict bound on staleness. None: the fleet's own bound, frozen while no primary answers."""
    max_lag_bytes: int | None = None
    """Strict bound on the log, in bytes, that the primary was ahead when it was last asked, a second ago at most."""
    not_before_s: float | None = None
    """The read sees all that was visible at this moment of our monotonic clock; infinity: the primary only.

    What was asked in the same tick of the clock may have been answered before: only later proves it.
    """
    org_id: Hashable = None
    """Whose mark that is; None: nobody's, or a session's."""
    after: Watermark | None = None
    """The read sees all that was committed before this position."""
    seat: Seat | None = None
    """The read sees no less than what was seen there."""
    takes_unknown: bool | None = None
    """Whether a replica of unknown staleness will do; None: as the settings say."""
    unqualified: str | None = None
    """What becomes of it when no replica qualifies: `primary`, `wait` or `error`; None: as the settings say."""

    @property
    def must_see(self) -> bool:
        """Whether there is something that it must see."""
        return self.not_before_s is not None or self.after is not None or self.seat is not None

    @property
    def sees_writes(self) -> bool:
        """Whether there is a write that it must see."""
        return self.not_before_s is not None or self.after is not None

    @property
    def is_particular(self) -> bool:
        """Whether it asks for more than what replicas that cover one moment have in common."""
        bounded = self.max_lag_s is not None or self.max_lag_bytes is not None
        return bounded or self.after is not None or self.takes_unknown is not None

    @property
    def is_strict(self) -> bool:
        """Whether it asks for freshness by itself."""
        return self.must_see or self.max_lag_s is not None or self.max_lag_bytes is not None


class _OfMoment(ReadIntent):
    is_particular = False
    must_see = is_strict = True


def of_org(org_id: Hashable, not_before_s: float) -> ReadIntent:
    """One of an org that sees all that was visible at this moment, and asks for nothing else: the usual one."""
    intent = object.__new__(_OfMoment)
    intent.__dict__.update(not_before_s=not_before_s, org_id=org_id)
    return intent


PLAIN = ReadIntent()
"""A read without wishes: what the routing table answers."""
