"""Runs it: a fleet, clients, the nemesis, and at the end the checker."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from time import perf_counter

from pgfleet.drill import fleets
from pgfleet.drill.calls import Event
from pgfleet.drill.consistency import tables
from pgfleet.drill.consistency.checker import Judgement, check
from pgfleet.drill.consistency.clients import Org
from pgfleet.drill.consistency.course import Commits, Course, Options, live
from pgfleet.drill.consistency.nemesis import Deed
from pgfleet.drill.consistency.recorder import Failures
from pgfleet.drill.consistency.reigns import Reigns
from pgfleet.drill.hand import Hand
from pgfleet.drill.stage import Tell
from pgfleet.local import LocalFleet


@dataclass(frozen=True, slots=True)
class Trial:
    """One that was run."""

    options: Options
    judgement: Judgement
    seconds: float
    """Under load."""
    checked_in_s: float
    operations: int
    writes: int
    answers: Counter[str]
    """Reads by the node that answered."""
    replica_share: float
    """Of the reads, answered by a node that was not the primary then."""
    events: tuple[Event, ...]
    deeds: Counter[Deed]
    failures: tuple[Failures, ...]

    @property
    def is_kept(self) -> bool:
        """Whether every promise was."""
        return self.judgement.is_kept


async def run(options: Options, fleet: LocalFleet, hand: Hand, tell: Tell) -> Trial:
    """Run it on a local fleet that is whole, and leave it whole. Raises LocalFleetError."""
    orgs = _orgs(options)
    await asyncio.to_thread(fleets.prepare, fleet, tables.create(len(orgs)), tables.count(len(orgs)))
    course = await live(options, fleet, hand, orgs, tell)
    at_the_end = await hand.do(tables.contents, fleet.primary)
    tell(f"{len(course.history):,} operations are checked")
    began_s = perf_counter()
    judgement = await asyncio.to_thread(
        check, course.history, course.first, course.nemesis.promotions, at_the_end
    )
    return _trial(options, course, judgement, perf_counter() - began_s)


def _orgs(options: Options) -> tuple[Org, ...]:
    """One for each second client."""
    numbers = range(1, max(2, options.clients // 2) + 1)
    both, alike = options.commits is Commits.BOTH, options.commits is Commits.ASYNCHRONOUS
    return tuple(Org(number, is_asynchronous=alike or (both and number % 2 == 0)) for number in numbers)


def _trial(options: Options, course: Course, judgement: Judgement, checked_in_s: float) -> Trial:
    reads, nodes = course.history.reads, course.history.nodes
    return Trial(
        options=options,
        judgement=judgement,
        seconds=course.seconds,
        checked_in_s=checked_in_s,
        operations=len(course.history),
        writes=len(course.history.writes),
        answers=Counter(nodes[node] for node in reads.node),
        replica_share=_replica_share(course),
        events=tuple(course.nemesis.events),
        deeds=course.nemesis.done,
        failures=course.failures,
    )


def _replica_share(course: Course) -> float:
    reads, nodes = course.history.reads, course.history.nodes
    reigns = Reigns(course.first, course.nemesis.promotions)
    count = sum(
        nodes[node] != reigns.primary(ended_s)
        for node, ended_s in zip(reads.node, reads.ended_s, strict=True)
    )
    return count / max(1, len(reads))
