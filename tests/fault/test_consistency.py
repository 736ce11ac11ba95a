"""Does any read see what it must not, while everything breaks? And would we know?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import cycle

import pytest

from pgfleet.board import shared
from pgfleet.core import ground
from pgfleet.core.ground import Ground
from pgfleet.core.lsn import Lsn
from pgfleet.core.probe import OBSERVE_SQL
from pgfleet.core.staleness import PrimaryHistory
from pgfleet.core.topology import NodeState
from pgfleet.drill.clients import row_in_lease
from pgfleet.drill.consistency import tables
from pgfleet.drill.consistency.course import Commits, Options
from pgfleet.drill.consistency.nemesis import BEHIND, Nemesis
from pgfleet.drill.consistency.run import Trial, run
from pgfleet.drill.consistency.tables import SETTINGS
from pgfleet.drill.consistency.verdicts import Check
from pgfleet.drill.hand import Hand, hand
from pgfleet.local import LocalFleet
from tests.faces import Face, environ
from tests.rotating import RotatingProxy, rotating

ASYNCPG = Face("asyncpg", "asyncpg")
STALE = {Check.OWN, Check.BOUND}
SEEN_BEFORE = STALE | {Check.SESSION, Check.TOKEN}
MOST_TRIALS = 5


@pytest.fixture(scope="module")
def kept_fleet() -> Iterator[LocalFleet]:
    """A fleet whose nodes keep their WAL, so that who is left behind follows again at once."""
    with LocalFleet.temporary(settings=SETTINGS) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def doing(kept_fleet: LocalFleet) -> Iterator[Hand]:
    with hand(kept_fleet.directory) as doing:
        yield doing


class Fronted(LocalFleet):
    """A fleet with one more address, before two of its replicas, that takes most of the reads."""

    front: RotatingProxy
    behind: tuple[str, ...]
    """The two."""

    def environ(self, plain: bool = False) -> dict[str, str]:
        """As of the fleet, with that address as a replica."""
        address = {
            "READ_REPLICA_9_CONNECTION_STRING": self.front.dsn(self.dsn(self.primary, plain)),
            "READ_REPLICA_9_SHARED_ENDPOINT": "true",
            "READ_REPLICA_9_WEIGHT": "10",
        }
        return super().environ(plain) | address


@pytest.fixture
def fronted(kept_fleet: LocalFleet) -> Iterator[Fronted]:
    """The fleet behind such an address."""
    fleet = Fronted.attach(kept_fleet.directory)
    fleet.behind = tuple(name for name in fleet.names if name != fleet.primary)[:2]
    with rotating(*(fleet.node(name).port for name in fleet.behind)) as fleet.front:
        yield fleet


def only(patch: pytest.MonkeyPatch, *ways: str) -> None:
    """Have these ways to break something, and no others."""
    ways_of = cycle(ways)
    patch.setattr(Nemesis, "_next", lambda self: next(ways_of))


def tried(options: Options, fleet: LocalFleet, doing: Hand) -> Trial:
    return asyncio.run(run(options, fleet, doing, print))


def told(trial: Trial) -> list[str]:
    return [str(violation) for verdict in trial.judgement.verdicts for violation in verdict.violations]


@pytest.mark.parametrize(
    "options",
    [Options(seconds=16, seed=1, driver="asyncpg"), Options(seconds=8, seed=2, threads=True)],
    ids=("tasks", "threads"),
)
def test_no_read_sees_what_it_must_not(options: Options, kept_fleet: LocalFleet, doing: Hand) -> None:
    trial = tried(options, kept_fleet, doing)
    assert told(trial) == []
    assert trial.is_kept
    assert trial.operations > 1000
    assert {verdict.check for verdict in trial.judgement.verdicts} >= STALE | {Check.ORDER, Check.KEPT}
    assert len(trial.events) == sum(trial.deeds.values()) > 0
    assert sum(status.upstream == kept_fleet.primary for status in kept_fleet.status()) == 3


def test_nor_behind_an_address_of_several_replicas(
    fronted: Fronted, doing: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "pause", "delay", "cut", "kill")  # soon mended, and a silent server keeps its readers
    trial = tried(Options(seconds=3, seed=1), fronted, doing)
    assert told(trial) == []
    assert trial.is_kept
    assert trial.operations > 100
    assert fronted.front.accepted > 3


async def test_an_asynchronous_commit_does_not_wait(kept_fleet: LocalFleet) -> None:
    kept_fleet.sql(kept_fleet.primary, tables.create(1))
    sql = tables.statements("asyncpg").append_asynchronously
    told = f"{sql}, current_setting('synchronous_commit')"
    async with ASYNCPG.open(environ(kept_fleet)) as router:
        _, setting = await row_in_lease(router.raw.write(), told, (1, 1_000_001))
    assert setting == "off"


# would we know?


def write_position(patch: pytest.MonkeyPatch) -> None:
    """What is written counts, not what is inserted: an asynchronous commit is visible before it is written."""
    written = OBSERVE_SQL.replace("pg_current_wal_insert_lsn()", "pg_current_wal_lsn()")
    assert written != OBSERVE_SQL
    patch.setattr("pgfleet.watch.watch.OBSERVE_SQL", written)


def receive_minus_replay(patch: pytest.MonkeyPatch) -> None:
    """Who has replayed all that it received is taken to lack nothing: so is who receives nothing."""
    covered = Ground.covered_s

    def caught_up(self: Ground, node: NodeState) -> float | None:
        seen = node.observation
        if seen and seen.replay_lsn is not None and seen.replay_lsn == seen.receive_lsn:
            return seen.asked_s
        return covered(self, node)

    patch.setattr(Ground, "covered_s", caught_up)


def no_timelines(patch: pytest.MonkeyPatch) -> None:
    """Positions of all timelines are compared: who stands past the fork is taken to hold what came after it."""
    checks = tuple(check for check in ground._CHECKS if check.__name__ != "untimely")
    patch.setattr(ground, "_CHECKS", checks)
    only(patch, BEHIND)


def one_sample_too_kind(patch: pytest.MonkeyPatch) -> None:
    """A replica between two positions is taken to have reached the second."""
    covered = PrimaryHistory.covered_s

    def kind(self: PrimaryHistory, replay_lsn: Lsn, xmin: int | None = None) -> float | None:
        beyond = [sample.insert_lsn for sample in self.samples if sample.insert_lsn > replay_lsn]
        return covered(self, beyond[0] if beyond else replay_lsn, xmin)

    patch.setattr(PrimaryHistory, "covered_s", kind)


@pytest.mark.parametrize("plant", [write_position, receive_minus_replay, no_timelines, one_sample_too_kind])
def test_a_planted_mistake_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    kept_fleet: LocalFleet,
    doing: Hand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    for seed in range(MOST_TRIALS):
        options = Options(seconds=8, seed=seed, driver="asyncpg", commits=Commits.ASYNCHRONOUS)
        trial = tried(options, kept_fleet, doing)
        if {verdict.check for verdict in trial.judgement.verdicts if verdict.broken} & STALE:
            return
    pytest.fail("nobody noticed")


def test_a_cached_position_behind_an_address_of_several_replicas_is_found(
    fronted: Fronted, doing: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one connection saw is taken for what every other one shows."""

    async def stop_one(self: Nemesis) -> None:
        await (self._switch("") if self.done else self._pause(fronted.behind[0]))

    monkeypatch.setattr(shared, "server_of", lambda seen: fronted.front.port)
    monkeypatch.setattr(Nemesis, "act", stop_one)
    for seed in range(MOST_TRIALS):
        trial = tried(Options(seconds=2, seed=seed), fronted, doing)
        if {verdict.check for verdict in trial.judgement.verdicts if verdict.broken} & SEEN_BEFORE:
            return
    pytest.fail("nobody noticed")
