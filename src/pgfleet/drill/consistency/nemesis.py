"""Who breaks the fleet, in an order that a seed decides, and notes what each promotion kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import Enum, StrEnum, auto
from functools import partial
from random import Random
from time import monotonic
from typing import Any

from pgfleet.drill import hand as deeds
from pgfleet.drill.calls import Event
from pgfleet.drill.consistency import tables
from pgfleet.drill.consistency.reigns import Promotion
from pgfleet.drill.fleets import cut_off, mend_one, undo_cut
from pgfleet.drill.hand import Hand
from pgfleet.drill.stage import Tell
from pgfleet.errors import LocalFleetError

PAUSE_S = (0.1, 1.0)
"""Between two deeds."""
DELAY_S = (0.1, 2.0)
"""By which a replica replays late."""
BEHIND_S = (0.3, 1.0)
"""How long the node to be promoted has received nothing."""
BEHIND = "fail over to one that is behind"
"""The way to break something that brings timelines which have ended into play."""


class Deed(StrEnum):
    """What was done. The value is what people read."""

    KILL = "a replica is killed"
    FREEZE = "a replica is frozen"
    PAUSE = "a replica replays nothing"
    DELAY = "a replica replays late"
    CUT = "a replica receives nothing"
    MEND = "a replica is made well again"
    SWITCH = "a new WAL file begins"
    KILL_PRIMARY = "the primary is killed"
    FREEZE_PRIMARY = "the primary is frozen"
    PROMOTE = "a replica is promoted"
    RETURN = "an old primary comes back, and takes writes"
    REJOIN = "a node of before follows the new primary"


class Condition(Enum):
    """How a node is."""

    WELL = auto()
    BROKEN = auto()
    """Whatever it is, it is mended in one go."""
    FALLEN = auto()
    """A primary of before, killed or frozen."""
    ASTRAY = auto()
    """A standby of a primary of before."""


class Nemesis:
    """Breaks and mends, one thing after the other."""

    def __init__(self, nodes: tuple[str, ...], primary: str, hand: Hand, rng: Random, tell: Tell) -> None:
        self.primary = primary
        self.promotions: list[Promotion] = []
        self.events: list[Event] = []
        self.done: Counter[Deed] = Counter()
        self._conditions = dict.fromkeys(nodes, Condition.WELL)
        self._hand, self._rng, self._tell = hand, rng, tell
        self._frozen: set[str] = set()
        self._deck: list[str] = []
        self._deeds: dict[str, Callable[[str], Awaitable[None]]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "pause": self._pause,
            "delay": self._delay,
            "cut": self._cut,
            "switch": self._switch,
            "fail over from a dead primary": partial(self._fail_over, "kill"),
            "fail over from a silent one": partial(self._fail_over, "freeze"),
            BEHIND: self._fail_over_behind,
        }

    async def work(self, is_enough: Callable[[], bool]) -> None:
        """Until it is enough. Every way to break something comes up before one comes up again."""
        while not is_enough():
            await asyncio.sleep(self._rng.uniform(*PAUSE_S))
            await self.act()

    async def act(self) -> None:
        """Break something, or mend something: this the likelier, the more is broken."""
        broken = [name for name in self._conditions if self._conditions[name] is not Condition.WELL]
        if self._rng.random() * (len(self._conditions) - 1) < len(broken):
            await self._mend(self._rng.choice(broken))
            return
        well = [name for name in self._conditions if name not in broken and name != self.primary]
        await self._deeds[self._next()](self._rng.choice(well))

    def _next(self) -> str:
        if not self._deck:
            self._deck = self._rng.sample(list(self._deeds), len(self._deeds))
        return self._deck.pop()

    async def _do(self, deed: Deed, what: str, doing: Awaitable[Any]) -> Any:
        self.done[deed] += 1
        self.events.append(Event(monotonic(), what))
        self._tell(what)
        return await doing

    # replicas

    async def _kill(self, name: str) -> None:
        self._conditions[name] = Condition.BROKEN
        await self._do(Deed.KILL, f"{name} is killed (SIGKILL)", self._hand.each("kill", [name]))

    async def _freeze(self, name: str) -> None:
        self._conditions[name] = Condition.BROKEN
        await self._do(Deed.FREEZE, f"{name} is frozen (SIGSTOP)", self._hand.each("freeze", [name]))

    async def _pause(self, name: str) -> None:
        self._conditions[name] = Condition.BROKEN
        await self._do(Deed.PAUSE, f"{name} replays nothing", self._hand.do(deeds.pause_replay, [name]))

    async def _delay(self, name: str) -> None:
        self._conditions[name] = Condition.BROKEN
        late_s = round(self._rng.uniform(*DELAY_S), 1)
        what = f"{name} replays {late_s:g} s late"
        await self._do(Deed.DELAY, what, self._hand.each("lag", [name], late_s))

    async def _cut(self, name: str) -> None:
        self._conditions[name] = Condition.BROKEN
        await self._do(Deed.CUT, f"{name} receives nothing any more", self._hand.do(cut_off, name))

    async def _mend(self, name: str) -> None:
        """Make it whole; one of before the promotion follows the new primary from now on."""
        condition = self._conditions[name]
        if condition is Condition.FALLEN and self._rng.random() < 0.5:
            await self._return(name)
            return
        if strayed := condition in (Condition.FALLEN, Condition.ASTRAY):
            # A primary that is shut down waits for its standbys, and one of them may be frozen.
            await self._hand.each("kill", [name])
        what = f"{name} follows {self.primary}" if strayed else f"{name} is well again"
        await self._do(Deed.REJOIN if strayed else Deed.MEND, what, self._hand.do(mend_one, name))
        self._frozen.discard(name)
        self._conditions[name] = Condition.WELL

    # the primary

    async def _switch(self, _: str) -> None:
        what = f"{self.primary} begins a new WAL file"
        await self._do(Deed.SWITCH, what, self._hand.do(tables.switch_wal, self.primary))

    async def _fail_over(self, verb: str, new: str) -> None:
        """Stop the old one, let all that is on its way arrive, and promote."""
        old = self.primary
        how = "killed (SIGKILL)" if verb == "kill" else "frozen (SIGSTOP)"
        await self._do(
            Deed.KILL_PRIMARY if verb == "kill" else Deed.FREEZE_PRIMARY,
            f"{old}, the primary, is {how}",
            self._hand.each(verb, [old]),
        )
        await self._hand.do(undo_cut, new)
        position, kept = await self._hand.do(tables.arrived, new)
        at_s = monotonic()
        await self._do(Deed.PROMOTE, f"{new} is promoted", self._hand.do(deeds.promote, new))
        self.promotions.append(Promotion(at_s, new, kept))
        if (began := await self._hand.do(tables.replayed, new)) != position:
            complaint = f"{new} was promoted at {began}, and had been asked what it holds at {position}"
            raise LocalFleetError(complaint, "what this promotion lost is not known exactly: run it again")
        self._succeed(old, new)
        if verb == "freeze":
            self._frozen.add(old)

    async def _fail_over_behind(self, new: str) -> None:
        """Promote a node while the others hold more than it does: they stand past it, on a timeline that has ended."""
        await self._cut(new)
        await asyncio.sleep(self._rng.uniform(*BEHIND_S))
        await self._fail_over("kill", new)

    def _succeed(self, old: str, new: str) -> None:
        self.primary = new
        for name in self._conditions:
            self._conditions[name] = Condition.ASTRAY
        self._conditions |= {old: Condition.FALLEN, new: Condition.WELL}

    async def _return(self, name: str) -> None:
        """Let the old primary take writes as before: nobody may send it any."""
        verb = "thaw" if name in self._frozen else "start"
        self._frozen.discard(name)
        what = f"{name} comes back, and takes writes like before"
        await self._do(Deed.RETURN, what, self._hand.each(verb, [name]))
        self._conditions[name] = Condition.ASTRAY
