"""What is wanted against what is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.changes import Action, Changes, Difference, Existing, Resource, changes

SMALL = {"class": "db.t4g.micro", "zone": "a"}
LARGE = {"class": "db.r5.xlarge", "zone": "a"}


def replica(name: str, **attributes: str) -> Resource:
    return Resource("replica", name, attributes, fixed=frozenset({"zone"}))


def actions(found: Changes) -> dict[str, Action]:
    return {change.resource.name: change.action for change in found.changes}


def test_what_is_missing_is_made_and_what_is_right_stays() -> None:
    found = changes([replica("r1", **SMALL), replica("r2", **SMALL)], [Existing(replica("r1", **SMALL))])
    assert actions(found) == {"r1": "keep", "r2": "create"}
    assert [change.resource.name for change in found.to_do] == ["r2"]
    assert not found.problems


def test_what_differs_is_changed_and_the_difference_is_told() -> None:
    (change,) = changes([replica("r1", **LARGE)], [Existing(replica("r1", **SMALL))]).changes
    assert (change.action, change.differences) == (
        "change",
        (Difference("class", "db.t4g.micro", "db.r5.xlarge"),),
    )


def test_what_was_left_half_made_is_finished() -> None:
    found = changes([replica("r1", **SMALL)], [Existing(replica("r1", **SMALL), is_ready=False)])
    assert actions(found) == {"r1": "finish"}


def test_only_what_is_ours_goes_and_the_last_first() -> None:
    there = [
        Existing(replica("r1")),
        Existing(replica("foreign"), is_ours=False),
        Existing(Resource("slot", "r1")),
    ]
    found = changes([], there)
    assert [(change.action, change.resource.key) for change in found.changes] == [
        ("remove", ("slot", "r1")),
        ("remove", ("replica", "r1")),
    ]


def test_a_fixed_attribute_is_a_problem_with_the_way_out() -> None:
    (problem,) = changes([replica("r1", zone="b")], [Existing(replica("r1", zone="a"))]).problems
    assert problem.startswith("replica r1: its zone is a and stays so; write that, or")


def test_what_another_made_is_not_changed() -> None:
    (problem,) = changes([replica("r1", **LARGE)], [Existing(replica("r1", **SMALL), is_ours=False)]).problems
    assert problem.startswith("replica r1: is there and was not made by this file")


def test_trouble_is_told_once() -> None:
    there = Existing(replica("r1", zone="a"), is_ours=False, trouble="is a replica of other-primary")
    assert changes([replica("r1", zone="b")], [there]).problems == (
        "replica r1: is a replica of other-primary",
    )


resources = st.builds(
    Resource,
    st.sampled_from(["slot", "replica"]),
    st.sampled_from(["r1", "r2", "r3"]),
    st.dictionaries(st.sampled_from(["class", "zone"]), st.sampled_from(["a", "b"])),
)
wishes = st.lists(resources, unique_by=lambda resource: resource.key)


@given(wishes, st.lists(st.builds(Existing, resources), unique_by=lambda found: found.resource.key))
def test_once_all_is_done_nothing_is_left_to_do(wanted: list[Resource], there: list[Existing]) -> None:
    """What is there afterwards: what was wanted, with the attributes it had beside those."""
    before = {found.resource.key: found.resource for found in there}
    after = []
    for change in changes(wanted, there).changes:
        if change.action is not Action.REMOVE:
            old = before.get(change.resource.key)
            attributes = {**(old.attributes if old else {}), **change.resource.attributes}
            after.append(Existing(Resource(*change.resource.key, attributes)))
    assert not changes(wanted, after).to_do


def test_what_stays_is_changed_and_never_removed() -> None:
    setting = Existing(Resource("settings", "primary", {"wal_level": "minimal"}), stays=True)
    (change,) = changes([Resource("settings", "primary", {"wal_level": "replica"})], [setting]).changes
    assert change.action is Action.CHANGE
    assert changes([], [setting]).changes == ()
