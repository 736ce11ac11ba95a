from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.membership import Change, Member, change
from pgfleet.core.node import Reason
from pgfleet.core.plan import lag_s
from pgfleet.core.topology import NodeState, Topology
from tests.unit.core.observations import saw_primary, saw_replica
from tests.unit.core.test_topology import plan

A, B, C = (Member(name, name) for name in "abc")


def test_the_same_fleet_needs_no_change() -> None:
    assert change((A, B), (A, B)) == Change((A, B), (), ())


def test_a_new_node_joins_in_its_place() -> None:
    assert change((A, C), (A, B, C)) == Change((A, B, C), ("b",), ())


def test_one_that_is_not_wanted_any_more_stays_draining_until_it_is_gone() -> None:
    assert change((A, B, C), (A, C)) == Change((A, C, replace(B, draining=True)), (), ("b",))


def test_weight_and_drain_change_in_place() -> None:
    changed = replace(B, weight=3, draining=True)
    assert change((A, B), (A, changed)) == Change((A, changed), (), ())


def test_another_server_of_the_same_name_waits_until_the_first_is_gone() -> None:
    moved = replace(B, key="elsewhere")
    first = change((A, B), (A, moved))
    assert first == Change((A, replace(B, draining=True)), (), ("b",))
    assert change((A,), (A, moved)) == Change((A, moved), ("b",), ())


def test_whoever_comes_back_while_leaving_stays() -> None:
    leaving = change((A, B), (A,)).members
    assert change(leaving, (A, B)) == Change((A, B), (), ())


fleets = st.lists(
    st.builds(Member, st.sampled_from("abcdef"), st.sampled_from((1, 2)), st.integers(1, 3), st.booleans()),
    unique_by=lambda member: member.name,
).map(tuple)


@given(fleets, fleets)
def test_every_change_comes_to_what_is_wanted(
    present: tuple[Member, ...], wanted: tuple[Member, ...]
) -> None:
    first = change(present, wanted)
    names = [member.name for member in first.members]
    assert len(names) == len(set(names))
    assert {m.name for m in present} | {m.name for m in wanted} == set(names), "nobody is gone at once"
    assert not set(first.joining) & set(first.leaving)
    assert all(m.draining for m in first.members if m.name in first.leaving)
    assert change(first.members, wanted).members == first.members, "to say it twice changes nothing"
    left = tuple(member for member in first.members if member.name not in first.leaving)
    assert change(left, wanted).members == wanted


@given(fleets, fleets)
def test_the_same_server_is_never_disturbed(present: tuple[Member, ...], wanted: tuple[Member, ...]) -> None:
    keys = {member.name: member.key for member in wanted}
    same = {member.name for member in present if keys.get(member.name) == member.key}
    what = change(present, wanted)
    assert not same & {*what.joining, *what.leaving}


# what the topology makes of it

MEMBERS = tuple(Member(name, name) for name in ("primary", "replica-1", "replica-2"))


def proven() -> Topology:
    topology = Topology(tuple(NodeState(member.name) for member in MEMBERS))
    topology = topology.observe("primary", saw_primary(10.0, 500))
    for name in ("replica-1", "replica-2"):
        topology = topology.observe(name, saw_replica(10.1, 500, incarnation=name))
    return topology


def test_what_is_known_of_those_that_stay_is_kept() -> None:
    topology = proven().become((*MEMBERS[:2], Member("replica-3", 3)))
    assert [node.name for node in topology.nodes] == ["primary", "replica-1", "replica-3"]
    assert plan(topology).replicas == ("replica-1",)
    assert plan(topology).reason("replica-3") is Reason.NOT_PROBED
    assert plan(topology.observe("replica-3", saw_replica(10.2, 500, incarnation="3"))).replicas == (
        "replica-1",
        "replica-3",
    )


def test_a_drained_node_is_left_out_with_its_reason_and_still_measured() -> None:
    drained = replace(MEMBERS[1], draining=True)
    topology = proven().become((MEMBERS[0], drained, MEMBERS[2]))
    assert plan(topology).replicas == ("replica-2",)
    assert plan(topology).reason("replica-1") is Reason.DRAINED
    assert lag_s(topology, topology.node("replica-1")) is not None
    assert plan(topology.become(MEMBERS)).replicas == ("replica-1", "replica-2")


def test_weights_follow() -> None:
    topology = proven().become((*MEMBERS[:2], replace(MEMBERS[2], weight=4)))
    assert [node.weight for node in topology.nodes] == [1, 1, 4]
