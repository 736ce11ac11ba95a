"""Plans are carried out in the order that their steps need, and wherever an apply ends, the next one goes on."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.changes import Action, Change, Existing, Key, Resource
from pgfleet.errors import ProvisionError
from pgfleet.provision.apply import Progress, apply
from pgfleet.provision.plan import Plan, plan_apply, plan_destroy
from pgfleet.provision.provider import Provider, Step, Tell
from tests.unit.provision.fake import PIECES, FakeProvider, Killed, World, fleet, replica, slot


def run(provider: Provider, *allowed: str, progress: Progress | None = None) -> Plan:
    async def go() -> Plan:
        plan = await plan_apply(provider)
        await apply(provider, plan, progress, allowed)
        return plan

    return asyncio.run(go())


def destroy(provider: Provider) -> Plan:
    async def go() -> Plan:
        plan = await plan_destroy(provider)
        await apply(provider, plan)
        return plan

    return asyncio.run(go())


def planned(provider: Provider) -> Plan:
    return asyncio.run(plan_apply(provider))


def keys(world: World) -> set[Key]:
    return set(world.there)


def test_a_second_apply_plans_nothing() -> None:
    world = World()
    assert len(run(FakeProvider(world, fleet("a", "b"))).steps) == 4
    again = planned(FakeProvider(world, fleet("a", "b")))
    assert (again.steps, again.estimate_s, len(again.keeps)) == ((), 0.0, 4)


def test_what_needs_nothing_of_one_another_runs_at_the_same_time() -> None:
    provider = FakeProvider(World(), fleet("a", "b"))
    assert planned(provider).estimate_s == 11.0, "the longest chain, not the sum"
    run(provider)
    begun = provider.log.index
    assert begun("began replica/b") < begun("ended replica/a")
    assert begun("ended slot/a") < begun("began replica/a")


def test_a_step_begins_when_its_own_needs_are_done_however_slow_others_are() -> None:
    class Slow(FakeProvider):
        async def carry_out(self, change: Change, tell: Tell) -> None:
            if change.resource.key == ("slot", "b"):
                await replica_a.wait()
            await super().carry_out(change, tell)
            if change.resource.key == ("replica", "a"):
                replica_a.set()

    async def go() -> None:
        provider = Slow(World(), fleet("a", "b"))
        await asyncio.wait_for(apply(provider, await plan_apply(provider)), 10)

    replica_a = asyncio.Event()
    asyncio.run(go())


def test_after_a_failure_nothing_begins_and_what_runs_ends() -> None:
    provider = FakeProvider(World(), fleet("a", "b"), broken=[("slot", "a")])
    with pytest.raises(ProvisionError) as caught:
        run(provider)
    assert caught.value.message == "create slot a: it broke, password=***"
    assert caught.value.hint == "mend a. The same command then goes on from here."
    assert "ended slot/b" in provider.log
    assert not [line for line in provider.log if "replica" in line]


def test_every_failure_is_told() -> None:
    provider = FakeProvider(World(), fleet("a", "b"), broken=[("slot", "a"), ("slot", "b")])
    with pytest.raises(ProvisionError) as caught:
        run(provider)
    assert len(caught.value.message.splitlines()) == 2
    assert caught.value.hint.startswith("mend a. mend b. ")


def test_a_stranger_s_error_is_told_by_its_name_without_its_secret() -> None:
    class Strange(FakeProvider):
        async def carry_out(self, change: Change, tell: object) -> None:
            raise KeyError("postgresql://app:tr0ub4dor@host/db")

    with pytest.raises(
        ProvisionError, match="create slot a: KeyError: 'postgresql://app:\\*\\*\\*@host/db'"
    ) as caught:
        run(Strange(World(), fleet("a")))
    assert caught.value.__cause__ is None


def test_an_apply_that_is_cancelled_ends_its_steps() -> None:
    async def go() -> FakeProvider:
        provider = FakeProvider(World(), fleet("a"), pauses=repeat(1_000_000))
        task = asyncio.ensure_future(apply(provider, await plan_apply(provider)))
        while not provider.log:
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return provider

    assert asyncio.run(go()).log == ["began slot/a"]


def test_with_a_problem_nothing_is_done() -> None:
    provider = FakeProvider(World(), fleet("a"), problems=("zone x: is none; write us-east-1a",))
    with pytest.raises(ProvisionError, match="zone x: is none") as caught:
        run(provider)
    assert (provider.log, caught.value.hint) == ([], "Nothing was changed.")


def test_consent_is_asked_before_anything_begins() -> None:
    provider = FakeProvider(World(), [*fleet("a"), Resource("setting", "wal_level", {"value": "replica"})])
    assert planned(provider).consents == ("restart",)
    with pytest.raises(ProvisionError) as caught:
        run(provider, "else")
    assert caught.value.hint.endswith("add --allow restart")
    assert provider.log == []
    run(provider, "restart")
    assert not planned(provider).steps


def test_steps_that_wait_for_one_another_are_refused() -> None:
    def ring(change: Change) -> frozenset[Key]:
        return frozenset({("slot", "a"), ("replica", "a")}) - {change.resource.key}

    with pytest.raises(ProvisionError, match="wait for one another: create slot a, create replica a"):
        planned(FakeProvider(World(), fleet("a"), needs=ring))


def test_destroy_takes_what_is_ours_in_the_right_order_and_nothing_else() -> None:
    world = World()
    run(FakeProvider(world, fleet("a", "b")))
    foreign = Existing(replica("foreign"), is_ours=False)
    world.there[foreign.resource.key] = foreign
    provider = FakeProvider(world, fleet("a", "b"), problems=("the zone is gone",))
    destroy(provider)
    assert keys(world) == {("replica", "foreign")}
    assert provider.log.index("ended replica/a") < provider.log.index("began slot/a")
    assert not destroy(provider).steps


def test_a_primary_is_never_removed_whoever_says_it_is_ours() -> None:
    world = World({("primary", "p"): Existing(Resource("primary", "p"))})
    with pytest.raises(ProvisionError, match="primary p: is never removed here"):
        destroy(FakeProvider(world))
    assert keys(world) == {("primary", "p")}


def test_progress_and_log_have_every_step_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    class Seen:
        def __init__(self) -> None:
            self.lines: list[str] = []

        def began(self, step: Step) -> None:
            self.lines.append(f"began {step.title}")

        def told(self, step: Step, line: str) -> None:
            self.lines.append(line)

        def ended(self, step: Step, took_s: float) -> None:
            self.lines.append(f"ended {step.title}")

        def failed(self, step: Step, why: str) -> None:
            self.lines.append(f"failed {step.title}: {why}")

    seen = Seen()
    caplog.set_level(logging.INFO, "pgfleet.provision")
    with pytest.raises(ProvisionError):
        run(FakeProvider(World(), fleet("a"), broken=[("replica", "a")]), progress=seen)
    assert seen.lines[0] == "began create slot a"
    assert seen.lines[-1] == "failed create replica a: it broke, password=***"
    assert "ended create slot a" in seen.lines
    assert "create slot a: begins" in caplog.messages
    assert "create replica a: failed: it broke, password=***" in caplog.messages
    assert "tr0ub4dor" not in caplog.text + "".join(seen.lines)


@pytest.mark.parametrize("killed_after", range(4 * PIECES + 1))
def test_killed_at_every_piece_the_next_apply_completes(killed_after: int) -> None:
    world = World(pieces_left=killed_after)
    if killed_after < 4 * PIECES:
        with pytest.raises(Killed):
            run(FakeProvider(world, fleet("a", "b")))
    world.pieces_left = 1_000_000
    run(FakeProvider(world, fleet("a", "b")))
    assert keys(world) == {resource.key for resource in fleet("a", "b")}
    assert all(found.is_ready for found in world.there.values())
    destroy(FakeProvider(world, fleet("a", "b")))
    assert not world.there


names = st.lists(st.sampled_from("abcd"), unique=True)
sizes = st.sampled_from(["small", "large"])


@given(
    wishes=st.lists(st.tuples(names, sizes, st.integers(0, 4 * 2 * PIECES)), max_size=4),
    last=st.tuples(names, sizes),
    pauses=st.lists(st.integers(0, 3), min_size=1),
)
def test_after_any_wishes_killed_anywhere_in_any_order_the_last_one_is_what_is_there(
    wishes: list[tuple[list[str], str, int]], last: tuple[list[str], str], pauses: list[int]
) -> None:
    """Each wish is killed after some pieces; the last one is not. Nothing of the earlier ones is left, and nothing of
    others is touched."""
    foreign = Existing(slot("foreign"), is_ours=False)
    world = World({foreign.resource.key: foreign})
    turns = (pause for _ in repeat(None) for pause in pauses)
    for wanted, size, pieces in wishes:
        world.pieces_left = pieces
        with suppress(Killed):
            run(FakeProvider(world, fleet(*wanted, size=size), turns))
    world.pieces_left = 1_000_000
    wanted, size = last
    provider = FakeProvider(world, fleet(*wanted, size=size), turns)
    run(provider)
    assert {found.resource.key: found.resource for found in world.there.values() if found.is_ours} == {
        resource.key: resource for resource in fleet(*wanted, size=size)
    }
    assert world.there[foreign.resource.key] == foreign
    assert not planned(provider).steps
    destroy(provider)
    assert list(world.there.values()) == [foreign]


def test_a_plan_says_what_it_takes_away() -> None:
    world = World()
    run(FakeProvider(world, fleet("a", "b")))
    removals = planned(FakeProvider(world, fleet("a"))).removals
    assert {step.change.resource.key for step in removals} == {("slot", "b"), ("replica", "b")}
    assert {step.change.action for step in removals} == {Action.REMOVE}
