"""What a replica's speed makes of its turns: one that is much slower than the others is ejected, tried, and warmed up.

SERVING --slow twice--> EJECTED --its time is over--> ON_TRIAL --well--> WARMING --a second--> SERVING
                           ^                              |                  ^
                           +-----------------slow---------+                  +-- was unreachable, restarted, new
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

STRIKES = 2
"""Judgements in a row: a checkpoint or a cold cache makes a server slow for half a second, and is over by itself."""
BASE_S = 1.0
LONGEST_S = 30.0
FORGET_AFTER_S = 60.0
"""Of being well: then the next ejection is a first one again."""
WARM_UP_S = 1.0
FULL_PART = 4


class Phase(StrEnum):
    """What a replica may do."""

    SERVING = "serving"
    EJECTED = "ejected"
    ON_TRIAL = "on trial"
    """Takes single reads, to see whether it is well again."""
    WARMING = "warming up"
    """Takes a growing part of its turns: its caches are cold, and its connections yet to be opened."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of one replica on account of its speed."""

    phase: Phase = Phase.SERVING
    since_s: float = -inf
    """inf: it is yet to serve its first read."""
    until_s: float = inf
    """When an ejection ends."""
    part: int = FULL_PART
    """Its part of its turns, of `FULL_PART`."""
    strikes: int = 0
    times: int = 0
    """Ejections in a row."""
    detail: str | None = None
    """Why it is ejected, in words."""

    @property
    def is_out(self) -> bool:
        """Whether it takes no turns of its own."""
        return self.phase in (Phase.EJECTED, Phase.ON_TRIAL)


TRUSTED = Standing()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison with the others says of one replica."""

    slow: bool
    detail: str = ""


def parts_of(standings: Sequence[Standing], replicas: int, panic_share: float) -> tuple[int | None, ...]:
    """The part of each of those that qualify for a read; 0: single reads only, None: it is left out.

    Panic: when fewer than this share of all replicas would serve, the ejected ones serve as well. Slow is better than
    overloaded.
    """
    serving = sum(not standing.is_out for standing in standings)
    if serving < panic_share * max(1, replicas):
        return tuple(standing.part or FULL_PART for standing in standings)
    return tuple(None if standing.phase is Phase.EJECTED else standing.part for standing in standings)


def may_eject(replicas: int, out: int, serving: int, max_share: float, panic_share: float) -> bool:
    """Whether one more of `replicas` may go, when `out` are ejected and `serving` serve: one may, of two or more."""
    most = max(1, int(max_share * replicas + 1e-9)) if replicas > 1 else 0
    return out < most and serving - 1 >= max(1, panic_share * replicas)


def returning(standing: Standing) -> Standing:
    """It was out of reach, or is new: it begins with a small part."""
    return Standing(Phase.WARMING, inf, part=1, times=standing.times)


def elapse(standing: Standing, serves: bool, now_s: float) -> Standing:
    """What the passing of time makes of it; `serves`: it has a place in the routing table."""
    if standing.phase is Phase.EJECTED and now_s >= standing.until_s:
        return replace(standing, phase=Phase.ON_TRIAL, since_s=now_s)
    if standing.phase is Phase.WARMING and serves:
        return _warmed(standing, now_s)
    return standing


def _warmed(standing: Standing, now_s: float) -> Standing:
    since_s = min(standing.since_s, now_s)
    part = 1 + int((FULL_PART - 1) * (now_s - since_s) / WARM_UP_S)
    if part >= FULL_PART:
        return Standing(since_s=now_s, times=standing.times)
    return replace(standing, since_s=since_s, part=part)


def judge(standing: Standing, verdict: Verdict, may_go: bool, now_s: float, jitter: float) -> Standing:
    """What a verdict makes of it. `jitter`, from 0 to 1: so that many processes do not try a node at one moment."""
    if standing.phase is Phase.ON_TRIAL:
        return _eject(standing, verdict.detail, now_s, jitter) if verdict.slow else returning(standing)
    if standing.phase is not Phase.SERVING:
        return standing
    strikes = min(standing.strikes + 1, STRIKES) if verdict.slow else 0
    if strikes == STRIKES and may_go:
        return _eject(standing, verdict.detail, now_s, jitter)
    return standing if strikes == standing.strikes else replace(standing, strikes=strikes)


def _eject(standing: Standing, detail: str, now_s: float, jitter: float) -> Standing:
    was_well = standing.phase is Phase.SERVING and now_s - standing.since_s >= FORGET_AFTER_S
    times = 0 if was_well else standing.times
    lasts_s = min(LONGEST_S, BASE_S * 2 ** min(times, 16)) * (0.75 + jitter / 2)
    return Standing(Phase.EJECTED, now_s, now_s + lasts_s, part=0, times=times + 1, detail=detail)
