"""Bugs as somebody might make them. Each is planted by itself, and a history must find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pgfleet.board import Board, Session
from pgfleet.board.session import _Deeds
from pgfleet.core import ground, staleness, topology
from pgfleet.core.marks import WriteMarks
from pgfleet.core.node import Observation
from pgfleet.core.staleness import PrimaryHistory
from pgfleet.core.topology import Topology
from pgfleet.engine.transactions import Transactions
from pgfleet.errors import OutcomeUnknown
from pgfleet.pool import Pool, Pooled
from pgfleet.testing.simulated.errors import SimulatedError
from tests.sim.invariants import Invariant as Inv

Plant = Callable[[pytest.MonkeyPatch], None]


def equal_positions(patch: pytest.MonkeyPatch) -> None:
    """A replica counts only where it stands exactly at a sampled position."""
    covered = PrimaryHistory.covered_s

    def exactly(self: PrimaryHistory, replay_lsn: Any, xmin: int | None = None) -> float | None:
        known = any(replay_lsn in (s.insert_lsn, s.flush_lsn) for s in self.samples)
        return covered(self, replay_lsn, xmin) if known else None

    patch.setattr(PrimaryHistory, "covered_s", exactly)


def one_sample_too_kind(patch: pytest.MonkeyPatch) -> None:
    """A replica between two positions is taken to have reached the second."""
    covered = PrimaryHistory.covered_s

    def kind(self: PrimaryHistory, replay_lsn: Any, xmin: int | None = None) -> float | None:
        beyond = [s.insert_lsn for s in self.samples if s.insert_lsn > replay_lsn]
        return covered(self, beyond[0] if beyond else replay_lsn, xmin)

    patch.setattr(PrimaryHistory, "covered_s", kind)


def no_timelines(patch: pytest.MonkeyPatch) -> None:
    """Positions of all timelines are compared."""
    checks = tuple(check for check in ground._CHECKS if check.__name__ != "untimely")
    patch.setattr(ground, "_CHECKS", checks)


def no_incarnations(patch: pytest.MonkeyPatch) -> None:
    """A replica is taken to stand where it once stood, in whatever life."""
    observe = Topology.observe

    def remember(self: Topology, name: str, seen: Observation) -> Topology:
        before = self.node(name).observation
        if before and before.replay_lsn and seen.replay_lsn and before.timeline == seen.timeline:
            seen = replace(seen, replay_lsn=max(before.replay_lsn, seen.replay_lsn))
        return observe(self, name, seen)

    patch.setattr(Topology, "observe", remember)


def no_settling(patch: pytest.MonkeyPatch) -> None:
    """A commit is taken to be flushed when it is visible."""
    patch.setattr(staleness, "SETTLE_DELAYS", 0)


def no_drain(patch: pytest.MonkeyPatch) -> None:
    """Connections of before an outage are kept."""
    patch.setattr(Board, "_drain", lambda self, name: None)


def any_primary(patch: pytest.MonkeyPatch) -> None:
    """Whoever takes writes is a primary, on whatever timeline."""
    patch.setattr(topology, "_is_fenced", lambda *_: False)
    patch.setattr(
        topology, "_claims", lambda node, *_: bool(node.observation and node.observation.insert_lsn)
    )


def lost_wakeup(patch: pytest.MonkeyPatch) -> None:
    """Who gives a connection back does not look who waits for it."""
    patch.setattr(Pool, "_settle", lambda self: None)


def given_back_dirty(patch: pytest.MonkeyPatch) -> None:
    """A connection is lent as the last borrower left it."""

    async def give(self: Pool[Any], pooled: Pooled[Any]) -> None:
        self.give(pooled)

    patch.setattr(Pool, "reset_and_give", give)


def given_back_twice(patch: pytest.MonkeyPatch) -> None:
    """The set that knows who has been lent what is not asked."""
    give = Pool.give

    def twice(self: Pool[Any], pooled: Pooled[Any]) -> None:
        give(self, pooled)
        if pooled in self._idle:
            self._idle.append(pooled)

    patch.setattr(Pool, "give", twice)


def unknown_is_fresh(patch: pytest.MonkeyPatch) -> None:
    """What no sample says is taken for no lag."""
    covered = PrimaryHistory.covered_s

    def fresh(self: PrimaryHistory, replay_lsn: Any, xmin: int | None = None) -> float | None:
        known = covered(self, replay_lsn, xmin)
        return self.last_asked_s if known is None else known

    patch.setattr(PrimaryHistory, "covered_s", fresh)


def marked_at_the_start(patch: pytest.MonkeyPatch) -> None:
    """A write counts as of the moment when it began."""
    begin, end = WriteMarks.begin, WriteMarks.end
    begun: dict[int, float] = {}

    def note(self: WriteMarks, org_id: Any) -> int:
        import asyncio

        slot = begin(self, org_id)
        begun[slot] = asyncio.get_running_loop().time()
        return slot

    patch.setattr(WriteMarks, "begin", note)
    patch.setattr(WriteMarks, "end", lambda self, slot, now_s: end(self, slot, begun[slot]))


def writes_again(patch: pytest.MonkeyPatch) -> None:
    """A write whose connection was lost is sent again."""
    execute = Transactions.execute

    async def stubborn(self: Transactions[Any], *args: Any) -> str:
        try:
            return await execute(self, *args)
        except (SimulatedError, OutcomeUnknown):
            return await execute(self, *args)

    patch.setattr(Transactions, "execute", stubborn)


def reads_anywhere(patch: pytest.MonkeyPatch) -> None:
    """A session does not know where it has read."""
    patch.setattr(Session, "seat", lambda self, now_s: None)


def follows_every_read(patch: pytest.MonkeyPatch) -> None:
    """A session is where its last read went, whatever another has shown meanwhile."""

    def sit(self: Any, before: Any, at: Any, opens: int) -> None:
        self._at = at

    patch.setattr(_Deeds, "sit", sit)


def forgets_its_writes(patch: pytest.MonkeyPatch) -> None:
    """A session's write counts while it is open, and no longer."""
    patch.setattr(_Deeds, "end_write", lambda self, mark_s: setattr(self, "_writing", self._writing - 1))


RARE: dict[Plant, int] = {no_timelines: 157, no_incarnations: 68, writes_again: 46, follows_every_read: 305}
"""Of those that few histories show, the first seed that did when this was written: where to begin looking."""

PLANTED: dict[str, tuple[Plant, frozenset[Inv]]] = {
    plant.__name__: (plant, frozenset(by))
    for plant, *by in (
        (equal_positions, Inv.ON_REPLICAS, Inv.LIVENESS),
        (one_sample_too_kind, Inv.BOUND, Inv.OWN_WRITES),
        (no_timelines, Inv.BOUND, Inv.OWN_WRITES),
        (no_incarnations, Inv.BOUND, Inv.OWN_WRITES),
        (no_settling, Inv.BOUND, Inv.OWN_WRITES),
        (no_drain, Inv.OLD_LIFE),
        (any_primary, Inv.FENCED, Inv.BOUND, Inv.OWN_WRITES),
        (lost_wakeup, Inv.LOST_WAKEUP),
        (given_back_dirty, Inv.CLEAN),
        (given_back_twice, Inv.CLEAN, Inv.OUR_ERRORS),
        (unknown_is_fresh, Inv.BOUND, Inv.OWN_WRITES),
        (marked_at_the_start, Inv.OWN_WRITES),
        (writes_again, Inv.ONCE),
        (reads_anywhere, Inv.MONOTONIC),
        (follows_every_read, Inv.MONOTONIC),
        (forgets_its_writes, Inv.SESSION_WRITES),
    )
}
