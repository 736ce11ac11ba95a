"""The drills: what is broken, how long, and what must hold meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from time import monotonic

from pgfleet.drill import hand as deeds
from pgfleet.drill.calls import Group, Kind
from pgfleet.drill.clients import HOLDING_READ, SLOW, SLOW_S, Reading
from pgfleet.drill.fleets import let_conflict
from pgfleet.drill.names import DRILLS
from pgfleet.drill.promises import PROMISES, Promise
from pgfleet.drill.stage import Play, Stage

UNTIL_PROMOTION_S = 1.0
LAG_S = 5.0
SLOW_CALLERS = 3
VACUUM_EVERY_S = 0.15
"""Each cancels what is under way, some eight reads: 45 to 63 a second, within the budget of retries."""
SLACK_S = 1.5
BLOCKS_SHARE = WRITES_SHARE = 0.25
"""Beside the fetches, as parts of their rate and of their callers."""

WITHIN_A_SECOND = Reading(max_lag_s=1.0)
HOLDING = Reading(sql=HOLDING_READ)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One drill."""

    name: str
    seconds: float
    """How long the fault lasts, unless somebody asks for another time."""
    play: Play
    reading: Reading = field(default_factory=Reading)
    bounded: bool = False
    """Whether some callers ask for bounded reads beside the plain ones."""
    is_proxied: bool = False
    """Whether the network before the replicas is broken, and no server."""
    hits_primary: bool = False

    @property
    def about(self) -> str:
        """What happens, in one line."""
        return DRILLS[self.name]

    @property
    def promises(self) -> tuple[Promise, ...]:
        """What must hold."""
        return PROMISES[self.name]

    def groups(self, callers: int, rate: float) -> tuple[Group, ...]:
        """Who calls, when so many callers fetch so often a second."""
        fewer, others = max(1, round(callers * BLOCKS_SHARE)), max(1, round(callers * WRITES_SHARE))
        groups = [
            Group(Kind.FETCH, callers, rate),
            Group(Kind.BLOCK, fewer, rate * BLOCKS_SHARE),
            Group(Kind.WRITE, others, rate * WRITES_SHARE),
        ]
        if self.bounded:
            groups.append(Group(Kind.BOUNDED, fewer, rate * BLOCKS_SHARE))
        return tuple(groups)


# one replica


async def _kill(stage: Stage) -> None:
    name = stage.victim
    await stage.strike(f"{name} is killed (SIGKILL)", stage.hand.each("kill", [name]), name)
    await stage.last()
    await stage.mend(f"{name} is started", stage.hand.each("start", [name]))


async def _freeze(stage: Stage) -> None:
    name = stage.victim
    await stage.strike(f"{name} is frozen (SIGSTOP)", stage.hand.each("freeze", [name]), name)
    await stage.last()
    await stage.mend(f"{name} goes on", stage.hand.each("thaw", [name]))


async def _blackhole(stage: Stage) -> None:
    name = stage.victim
    deed = stage.hand.do(deeds.on_proxies, "blackhole", [name])
    await stage.strike(f"the network to {name} swallows everything", deed, name)
    await stage.last()
    await stage.mend(f"{name} is reached again", stage.hand.do(deeds.on_proxies, "pass_through", [name]))


async def _reset(stage: Stage) -> None:
    """Every connection to every replica, once a second."""
    for _ in range(max(1, round(stage.seconds))):
        deed = stage.hand.do(deeds.on_proxies, "reset", stage.replicas)
        await stage.strike("every connection to a replica is reset", deed)
        await asyncio.sleep(1.0)
    stage.mended_s = stage.struck_s + 1.0


async def _lag(stage: Stage) -> None:
    name = stage.victim
    what = f"{name} replays {LAG_S:g} s late"
    await stage.strike(what, stage.hand.each("lag", [name], LAG_S), name)
    await stage.last()
    await stage.mend(f"{name} replays at once again", stage.hand.each("lag", [name], 0.0))


async def _pause(stage: Stage) -> None:
    name = stage.victim
    deed = stage.hand.do(deeds.pause_replay, [name])
    await stage.strike(f"{name} replays nothing any more", deed, name)
    await stage.last()
    await stage.mend(f"{name} replays again", stage.hand.each("lag", [name], 0.0))


# all replicas


async def _all_down(stage: Stage) -> None:
    deed = stage.hand.each("kill", stage.replicas)
    await stage.strike("every replica is killed (SIGKILL)", deed, *stage.replicas)
    await stage.last()
    await stage.mend("they are started", stage.hand.each("start", stage.replicas))


async def _restart_storm(stage: Stage) -> None:
    """One replica after the other, without a pause."""
    end_s = asyncio.get_running_loop().time() + stage.seconds
    for name in cycle(stage.replicas):
        await stage.strike(f"{name} is killed and started", stage.hand.each("kill", [name]))
        await stage.mend(f"{name} is back", stage.hand.each("start", [name]))
        if asyncio.get_running_loop().time() >= end_s:
            break


# the primary


async def _primary_dead(stage: Stage) -> None:
    name = stage.primary
    await stage.strike(f"{name} is killed, and nobody is promoted", stage.hand.each("kill", [name]))
    await stage.last()
    await stage.mend(f"{name} is started", stage.hand.each("start", [name]))


async def _promote(stage: Stage) -> None:
    await _fail_over(stage)
    await stage.last()


async def _old_primary_returns(stage: Stage) -> None:
    await _fail_over(stage)
    await asyncio.sleep(UNTIL_PROMOTION_S)
    stage.returned = stage.primary
    what = f"{stage.primary} comes back, and takes writes like before"
    await stage.mend(what, stage.hand.each("start", [stage.primary]))
    await stage.last()


async def _fail_over(stage: Stage) -> None:
    old, new = stage.primary, stage.replicas[0]
    await stage.strike(f"{old} is killed (SIGKILL)", stage.hand.each("kill", [old]))
    await asyncio.sleep(UNTIL_PROMOTION_S)
    stage.say(f"{new} is promoted")
    stage.promoted_s = await stage.hand.do(deeds.promote, new)


# statements


async def _slow_statement(stage: Stage) -> None:
    """First on a fleet that is well, then while a node is frozen: nobody cuts it, nobody sends it twice."""
    name = stage.victim
    twice = await _slow_calls(stage, stage.nodes)
    await stage.strike(f"{name} is frozen (SIGSTOP)", stage.hand.each("freeze", [name]), name)
    twice += await _slow_calls(stage, [other for other in stage.nodes if other != name])
    await stage.mend(f"{name} goes on", stage.hand.each("thaw", [name]))
    stage.facts["ran twice"] = twice


async def _slow_calls(stage: Stage, looked_at: Sequence[str]) -> int:
    """Some at once; how many runs too many were seen on these nodes."""
    stage.say(f"{SLOW_CALLERS} statements of {SLOW_S} s begin")
    now_s, ask = monotonic(), stage.asks[Kind.SLOW]
    callers = [stage.under_way.call(Kind.SLOW, number, ask, now_s) for number in range(SLOW_CALLERS)]
    watching = stage.hand.do(deeds.runs_of, looked_at, SLOW, SLOW_S + SLACK_S)
    runs, *_ = await asyncio.gather(watching, *callers)
    return max(0, int(runs) - SLOW_CALLERS)


async def _conflicts(stage: Stage) -> None:
    before = await stage.hand.do(let_conflict, True)
    deed = stage.hand.do(deeds.vacuum, stage.primary, stage.seconds, VACUUM_EVERY_S)
    await stage.strike("what reports read is updated and vacuumed all the time", deed)
    stage.mended_s = stage.struck_s
    count = await stage.hand.do(let_conflict, False) - before
    stage.facts["conflicts per s"] = count / (stage.struck_s - stage.broken_s)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("kill", 3.0, _kill),
        Scenario("freeze", 10.0, _freeze),
        Scenario("blackhole", 6.0, _blackhole, is_proxied=True),
        Scenario("reset", 4.0, _reset, is_proxied=True),
        Scenario("lag", 8.0, _lag, WITHIN_A_SECOND),
        Scenario("pause", 6.0, _pause, WITHIN_A_SECOND),
        Scenario("all-down", 6.0, _all_down),
        Scenario("restart-storm", 8.0, _restart_storm),
        Scenario("conflicts", 6.0, _conflicts, HOLDING),
        Scenario("slow-statement", SLOW_S, _slow_statement),
        Scenario("primary-dead", 8.0, _primary_dead, bounded=True, hits_primary=True),
        Scenario("promote", 3.0, _promote, hits_primary=True),
        Scenario("old-primary-returns", 3.0, _old_primary_returns, hits_primary=True),
    )
}
