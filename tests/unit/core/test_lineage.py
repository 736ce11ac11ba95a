from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.lineage import MOST_FORKS, Coverage, Fork, Lineage, just_after
from pgfleet.core.lsn import Lsn
from pgfleet.core.position import Watermark
from pgfleet.core.topology import Topology
from tests.examples import examples
from tests.unit.core.observations import fleet, saw_primary, saw_replica

ONE = Lineage((Fork(1, 2, Lsn(500), 10.0, 12.0),))


def mark(timeline: int, lsn: int) -> Watermark:
    return Watermark(7, timeline, Lsn(lsn))


@pytest.mark.parametrize(
    ("watermark", "timeline", "replayed", "answer"),
    [
        (mark(1, 400), 1, 399, Coverage.PENDING),
        (mark(1, 400), 1, 400, Coverage.REACHED),
        (mark(1, 500), 2, 501, Coverage.REACHED),
        (mark(1, 501), 2, 900, Coverage.LOST),
        (mark(2, 400), 1, 900, Coverage.PENDING),
        (mark(3, 1), 2, 900, Coverage.PENDING),
    ],
)
def test_what_a_server_says_to_a_position(
    watermark: Watermark, timeline: int, replayed: int, answer: Coverage
) -> None:
    assert ONE.covers(watermark, timeline, Lsn(replayed)) is answer
    assert ONE.has_lost(watermark, timeline) == (answer is Coverage.LOST)


def test_what_nobody_saw_is_lost() -> None:
    assert Lineage().has_lost(mark(1, 1), 2)
    assert Lineage((Fork(1, 2, None, -inf, 12.0),)).has_lost(mark(1, 1), 2)
    gap = Lineage((Fork(1, 2, Lsn(500), 10.0, 12.0), Fork(3, 4, Lsn(900), 20.0, 22.0)))
    assert gap.has_lost(mark(1, 1), 4), "who was promoted from 2 to 3?"
    assert not gap.has_lost(mark(3, 900), 4)


def test_when_a_write_is_lost() -> None:
    assert [ONE.lost_at(moment_s) is not None for moment_s in (9.9, 10.0, 11.0, 12.0)] == [
        False,
        True,
        True,
        True,
    ]
    assert ONE.lost_at(just_after(12.0)) is None
    assert (ONE.settled_s, Lineage().settled_s) == (12.0, -inf)


@examples(200)
@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=6),
    st.integers(1, 7),
    st.integers(0, 700),
)
def test_a_chain_of_promotions_is_that_of_a_log(grown: list[int], timeline: int, lsn: int) -> None:
    """The log of a cluster whose every promotion loses the last ten bytes: who is still in it?"""
    forks, ends, at = list[Fork](), dict[int, int](), 0
    for number, written in enumerate(grown, 1):
        at += written
        ends[number] = at = max(0, at - 10)
        forks.append(Fork(number, number + 1, Lsn(at), 0.0, 0.0))
    last = len(grown) + 1
    survives = timeline <= last and all(lsn <= ends[number] for number in range(timeline, last))
    told = Lineage(tuple(forks)).covers(mark(timeline, lsn), last, Lsn(10**6))
    if timeline <= last:
        assert told is (Coverage.REACHED if survives else Coverage.LOST)
    else:
        assert told is Coverage.PENDING


def test_memory_of_promotions_is_bounded_and_forgets_nothing_that_was_lost() -> None:
    lineage = Lineage()
    for number in range(1, 40):
        lineage = lineage.after(Fork(number, number + 1, Lsn(100 * number), 10.0 * number, 10.0 * number + 1))
    assert len(lineage.forks) == MOST_FORKS
    assert all(lineage.lost_at(10.0 * number + 0.5) for number in range(1, 40))
    assert lineage.lost_at(395.0) is None
    assert not lineage.has_lost(mark(39, 3900), 40)
    assert lineage.has_lost(mark(1, 1), 40)


def promoted(**primary: object) -> Topology:
    """Replica-1 has replayed 300 of timeline 1 when it was last seen, and is the primary of timeline 2 now."""
    topology = fleet().observe("primary", saw_primary(1.0, 100)).observe("primary", saw_primary(2.0, 300))
    topology = topology.observe("primary", saw_primary(3.0, 600)).observe("replica-1", saw_replica(3.5, 300))
    known: dict[str, object] = {"timeline": 2, "incarnation": "r1", "fork_lsn": Lsn(600)}
    return topology.observe("replica-1", saw_primary(5.0, 700, **(known | primary)))  # type: ignore[arg-type]


def test_the_fork_is_where_the_promoted_server_stood() -> None:
    (fork,) = promoted().lineage.forks
    assert fork == Fork(1, 2, Lsn(600), 3.0, 5.0)


def test_after_a_restart_it_is_where_we_last_saw_it() -> None:
    (fork,) = promoted(incarnation="r1 again", fork_lsn=Lsn(999)).lineage.forks
    assert fork == Fork(1, 2, Lsn(300), 2.0, 5.0), "it tells of another recovery"


def test_of_a_server_that_nobody_saw_as_a_standby_nothing_has_survived() -> None:
    topology = fleet().observe("primary", saw_primary(1.0, 100))
    (fork,) = topology.observe(
        "replica-1", saw_primary(5.0, 700, timeline=2, fork_lsn=Lsn(600))
    ).lineage.forks
    assert (fork.lsn, fork.since_s) == (None, -inf)


def test_another_life_of_the_same_primary_is_no_promotion() -> None:
    topology = fleet().observe("primary", saw_primary(1.0, 100))
    assert not topology.observe("primary", saw_primary(2.0, 90, incarnation="p2")).lineage.forks
