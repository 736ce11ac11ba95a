"""The place where a drill plays: a local fleet, callers at work on it, and a hand that breaks and mends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any

from pgfleet.drill import hand as deeds
from pgfleet.drill.calls import Call, Event, Group, Kind, Look, Record
from pgfleet.drill.clients import Client
from pgfleet.drill.hand import Address, Hand
from pgfleet.drill.load import Ask, Load, load

LOOK_EVERY_S = 0.02
QUIET_S = 2.0
"""Of load before the fault."""
AFTER_S = 3.0
"""Of load after it was mended."""

Tell = Callable[[str], None]
"""Says what is being done, to whoever watches."""


@dataclass
class Stage:
    """What a scenario has in its hands. Every deed is told, and goes into the record."""

    nodes: tuple[str, ...]
    primary: str
    hand: Hand
    seconds: float
    """How long the fault lasts."""
    asks: Mapping[Kind, Ask]
    under_way: Load
    tell: Tell
    events: list[Event] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    victims: tuple[str, ...] = ()
    broken_s: float = inf
    struck_s: float = inf
    mended_s: float = inf
    promoted_s: float | None = None
    returned: str | None = None

    def __post_init__(self) -> None:
        self.replicas = tuple(name for name in self.nodes if name != self.primary)
        self.victim = self.replicas[min(1, len(self.replicas) - 1)]

    def say(self, what: str) -> None:
        """Note that something is being done now."""
        self.events.append(Event(monotonic(), what))
        self.tell(what)

    async def strike(self, what: str, deed: Awaitable[Any], *victims: str) -> Any:
        """Break something. The fault begins with the first call of this, and is there when it returns."""
        self.say(what)
        self.broken_s = min(self.broken_s, self.events[-1].at_s)
        self.victims = self.victims or victims
        done = await deed
        self.struck_s = monotonic()
        return done

    async def mend(self, what: str, deed: Awaitable[Any]) -> Any:
        """Make something whole. The fault ends when it returns."""
        self.say(what)
        done = await deed
        self.mended_s = monotonic()
        return done

    async def last(self) -> None:
        """Let the fault last."""
        await asyncio.sleep(self.seconds)


Play = Callable[[Stage], Awaitable[None]]
Undo = Callable[[], Awaitable[None]]
Opener = Callable[[Mapping[str, int]], AbstractAsyncContextManager[Client]]
"""Opens a client of the fleet, by way of these proxies: their ports by the nodes behind them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: what is played, on which nodes, by whom, how long."""

    play: Play
    nodes: tuple[str, ...]
    primary: str
    opener: Opener
    groups: tuple[Group, ...]
    seconds: float
    bound_s: float
    undo: Undo
    """Makes whole what is broken, wherever the play was left."""
    proxied: Mapping[str, Address] = field(default_factory=dict)
    """Where the nodes are before which the network is broken."""


async def perform(plan: Plan, hand: Hand, tell: Tell) -> Record:
    """Play on a fleet that is whole, and leave it whole."""
    try:
        proxies = await hand.do(deeds.open_proxies, plan.proxied) if plan.proxied else {}
        async with plan.opener(proxies) as client, load(client.asks, plan.groups) as under_way:
            stage = Stage(plan.nodes, plan.primary, hand, plan.seconds, client.asks, under_way, tell)
            began_s, looks = monotonic(), list[Look]()
            try:
                async with looking(client, looks):
                    await asyncio.sleep(QUIET_S)
                    await plan.play(stage)
                    await asyncio.sleep(AFTER_S)
                ended_s = monotonic()
            finally:  # before the callers end: none of them shall hang on what is broken
                tell("everything is made whole again")
                await plan.undo()
    finally:
        if plan.proxied:
            await hand.do(deeds.close_proxies)
    return _record(stage, plan, under_way.calls, looks, began_s, ended_s)


def _record(
    stage: Stage, plan: Plan, calls: list[Call], looks: list[Look], began_s: float, ended_s: float
) -> Record:
    return Record(
        nodes=plan.nodes,
        victims=stage.victims,
        groups=plan.groups,
        began_s=began_s,
        broken_s=stage.broken_s,
        struck_s=stage.struck_s,
        mended_s=min(stage.mended_s, ended_s),
        ended_s=ended_s,
        calls=tuple(call for call in calls if call.due_s < ended_s),
        looks=tuple(looks),
        events=tuple(stage.events),
        bound_s=plan.bound_s,
        promoted_s=stage.promoted_s,
        returned=stage.returned,
        facts=stage.facts,
    )


@asynccontextmanager
async def looking(client: Client, looks: list[Look]) -> AsyncIterator[None]:
    """Note all the time to which nodes the client would turn."""
    task = asyncio.create_task(_look(client, looks))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _look(client: Client, looks: list[Look]) -> None:
    while (candidates := client.candidates()) is not None:
        looks.append(Look(monotonic(), candidates))
        await asyncio.sleep(LOOK_EVERY_S)
