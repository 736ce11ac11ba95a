"""Who takes writes: properties that hold whatever the nodes say, in whatever order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.intent import PLAIN
from pgfleet.core.node import Observation, Reason, Role
from pgfleet.core.plan import plan_read
from pgfleet.core.succession import is_hopeless, told_of_writes, why_no_writes
from pgfleet.core.topology import Topology
from tests.examples import examples
from tests.unit.core.observations import down, fleet, saw_primary, saw_replica

OURS, FOREIGN = 7, 8


def plan_reason(topology: Topology, name: str, now_s: float = 11.0) -> Reason | None:
    return plan_read(topology, PLAIN, 10.0, now_s).reason(name)


@dataclass(frozen=True)
class Event:
    """One thing that is learned of one node."""

    name: str
    what: str
    timeline: int
    server: str
    system_id: int

    def told(self, at_s: float) -> Observation:
        more: dict[str, Any] = {
            "timeline": self.timeline,
            "incarnation": self.server,
            "system_id": self.system_id,
        }
        return saw_primary(at_s, 500, **more) if self.what == "primary" else saw_replica(at_s, 500, **more)


events = st.lists(
    st.builds(
        Event,
        st.sampled_from(("primary", "replica-1", "replica-2")),
        st.sampled_from(("primary", "primary", "replica", "down")),
        st.integers(1, 3),
        st.sampled_from(("a", "b", "c")),
        st.sampled_from((OURS, OURS, OURS, FOREIGN)),
    ),
    max_size=25,
)


def claims(topology: Topology, name: str) -> bool:
    """Whether a node was a primary of our cluster, on the highest timeline, when it was last seen.

    Behind one that has led to several servers stands nobody in particular.
    """
    seen = topology.node(name).observation
    if seen is None or topology.node(name).is_shared or seen.role is not Role.PRIMARY:
        return False
    return seen.system_id == topology.system_id and seen.timeline == topology.highest_timeline


def server(topology: Topology, name: str) -> str:
    seen = topology.node(name).observation
    assert seen is not None
    return seen.incarnation


@examples(400)
@given(events)
def test_who_takes_writes(story: list[Event]) -> None:
    topology, seen_timeline = fleet(2), 0
    for at_s, event in enumerate(story, 10):
        before = topology
        if event.what == "down":
            topology = topology.fail(event.name, down(float(at_s)))
        else:
            topology = topology.observe(event.name, event.told(float(at_s)))
            if event.system_id == topology.system_id:
                seen_timeline = max(seen_timeline, event.timeline)
        assert_lawful(before, topology, seen_timeline)


def assert_lawful(before: Topology, now: Topology, seen_timeline: int) -> None:
    assert now.highest_timeline >= max(before.highest_timeline, seen_timeline)
    assert all(not claims(now, name) for name in now.fenced)
    answering = {server(now, n.name) for n in now.nodes if claims(now, n.name) and not n.trouble}
    if now.writer_name is None:
        assert not answering or now.is_split
        return
    assert claims(now, now.writer_name)
    assert answering == {server(now, now.writer_name)}, "nobody else says that it is the primary"
    if before.incumbent_name and now.highest_timeline == before.highest_timeline:
        assert not claims(now, before.incumbent_name) or (
            server(now, before.incumbent_name) == server(now, now.writer_name)
        ), "the one before has yielded, or it is the same server"


@examples(200)
@given(events)
def test_a_fenced_node_and_a_node_of_another_cluster_serve_nothing(story: list[Event]) -> None:
    topology = fleet(2)
    for at_s, event in enumerate(story, 10):
        topology = topology.observe(event.name, event.told(float(at_s)))
        plan = plan_read(topology, PLAIN, 10.0, at_s + 0.5)
        for node in topology.nodes:
            foreign = node.observation and node.observation.system_id != topology.system_id
            if foreign or node.name in topology.fenced:
                assert node.name not in plan.replicas or node.name in plan.checked
                assert node.name not in (plan.primary, topology.writer_name)


def well() -> Topology:
    topology = fleet(2).observe("primary", saw_primary(10.0, 500))
    topology = topology.observe("replica-1", saw_replica(10.0, 500, incarnation="r1"))
    return topology.observe("replica-2", saw_replica(10.0, 500, incarnation="r2"))


def test_a_standby_of_a_higher_timeline_fences_the_primary() -> None:
    """Somebody was promoted, and this standby follows him: whom we know as the primary is an old one."""
    topology = well().observe("replica-2", saw_replica(11.0, 510, incarnation="r2", timeline=2))
    assert topology.writer_name is topology.primary_name is None
    assert topology.fenced == {"primary"}
    assert why_no_writes(topology, topology.node("primary")) is Reason.FENCED
    assert plan_reason(topology, "primary") is Reason.FENCED
    topology = topology.observe("primary", saw_primary(12.0, 600))
    assert topology.writer_name is None


def test_a_standby_of_another_cluster_fences_nobody() -> None:
    seen = saw_replica(11.0, 510, incarnation="x", timeline=9, system_id=FOREIGN)
    topology = well().observe("replica-2", seen)
    assert topology.writer_name == "primary"
    assert topology.highest_timeline == 1


def test_an_old_primary_serves_reads_again_as_a_standby_of_the_new_one() -> None:
    topology = well().observe("replica-1", saw_primary(11.0, 500, incarnation="r1", timeline=2))
    assert topology.fenced == {"primary"}
    topology = topology.observe("primary", saw_replica(12.0, 500, incarnation="p2", timeline=2))
    assert topology.fenced == frozenset()
    assert plan_reason(topology, "primary", 12.0) is None


RIVAL: dict[str, Any] = {"incarnation": "rival", "timeline": 1}


def split() -> Topology:
    return well().observe("replica-1", saw_primary(11.0, 700, **RIVAL))


def test_two_primaries_take_no_writes_and_the_first_is_read() -> None:
    topology = split()
    assert topology.writer_name is None
    assert topology.primary_name == "primary"
    assert why_no_writes(topology, topology.node("replica-1")) is Reason.SPLIT
    assert any("claim to be the primary" in told for told in told_of_writes(topology))


def test_the_incumbent_keeps_its_writes_while_it_alone_is_reachable() -> None:
    assert split().fail("replica-1", down(12.0)).writer_name == "primary"


def test_a_rival_takes_no_writes_because_the_incumbent_is_away() -> None:
    topology = split().fail("primary", down(12.0))
    assert topology.writer_name is topology.primary_name is None
    assert topology.is_split


def test_a_rival_that_is_found_while_the_incumbent_is_away_takes_no_writes_either() -> None:
    topology = well().fail("primary", down(11.0)).observe("replica-1", saw_primary(12.0, 700, **RIVAL))
    assert topology.writer_name is None
    assert topology.observe("primary", saw_primary(13.0, 600)).primary_name == "primary"


def test_a_split_ends_when_one_yields() -> None:
    yielded = split().observe("primary", saw_replica(12.0, 700, incarnation="p2"))
    assert yielded.writer_name == "replica-1"
    yielded = split().observe("replica-1", saw_replica(12.0, 700, incarnation="r1 again"))
    assert yielded.writer_name == "primary"


def test_an_accepted_cluster_begins_with_no_belief_of_the_old_one() -> None:
    topology = well().observe("replica-1", saw_primary(11.0, 500, incarnation="r1", timeline=5))
    new = saw_primary(12.0, 90, system_id=FOREIGN, incarnation="n1")
    topology = topology.observe("primary", new)
    assert topology.writer_name == "replica-1"
    topology = topology.accept(FOREIGN)
    assert (topology.writer_name, topology.highest_timeline, topology.system_id) == ("primary", 1, FOREIGN)
    assert topology.history.written_by is not None
    assert topology.history.written_by.system_id == FOREIGN
    assert topology.fenced == frozenset()
    assert plan_reason(topology, "replica-1") is Reason.FOREIGN_CLUSTER


def test_to_wait_is_in_vain_only_for_a_first_primary_that_refuses_us() -> None:
    refused = down(10.0, Reason.MISCONFIGURED)
    assert is_hopeless(fleet(1).fail("primary", refused))
    assert not is_hopeless(fleet(1).fail("primary", down(10.0)))
    assert not is_hopeless(fleet(1).fail("primary", refused).fail("replica-1", down(10.0))), (
        "it may be promoted"
    )
    assert not is_hopeless(well().fail("primary", refused)), "it was the primary, and another may follow"
    assert not is_hopeless(fleet(1))
