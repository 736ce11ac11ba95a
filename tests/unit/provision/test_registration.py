"""The fleet file is a part of the plan: who is ready is in it, who goes is out of it first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgfleet.errors import ConfigurationError, ProvisionError
from pgfleet.provision.apply import apply
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.provision.plan import Plan, plan_apply, plan_destroy
from pgfleet.provision.provider import Endpoint, Tell
from pgfleet.provision.registration import Registered, fleet_file
from pgfleet.settings import Dsn, NodeSettings
from pgfleet.settings.fleet_file import read_fleet_file
from tests.unit.provision.fake import PIECES, FakeProvider, Killed, World, fleet

DSN = Dsn.parse("postgresql://app:tr0ub4dor@primary/hotel?sslmode=require")


class Platform(FakeProvider):
    """Each replica that is ready takes connections on a host of its name."""

    async def endpoints(self) -> Sequence[Endpoint]:
        ready = [found.resource.name for found in self.world.there.values() if found.is_ready]
        return [
            Endpoint("primary", "primary", 5432),
            *(Endpoint(name, f"host-{name}", 5432) for name in ready),
        ]


def registered(
    world: World, path: Path, *replicas: WantedReplica, left: list[str] | None = None
) -> Registered:
    async def drained(name: str, dsn: Dsn, tell: Tell) -> None:
        for _ in range(4 * PIECES):
            await asyncio.sleep(0)
        assert world.there[("replica", name)].is_ready, "its readers leave before it goes"
        assert name not in names(path)
        world.piece()
        (left if left is not None else []).append(f"{name} at {dsn.display}")

    declaration = Declaration("hotel", "rds", replicas, register=str(path))
    platform = Platform(world, fleet(*(replica.name for replica in replicas)))
    return Registered(platform, declaration, {}, lambda: DSN, drained)


def run(provider: Registered) -> Plan:
    async def go() -> Plan:
        plan = await plan_apply(provider)
        await apply(provider, plan)
        return plan

    return asyncio.run(go())


def planned(provider: Registered) -> Plan:
    return asyncio.run(plan_apply(provider))


def destroy(provider: Registered) -> None:
    async def go() -> None:
        await apply(provider, await plan_destroy(provider))

    asyncio.run(go())


def nodes(path: Path) -> dict[str, NodeSettings]:
    if not path.exists():
        return {}
    found, problems = read_fleet_file(str(path))
    assert problems == ()
    return {node.name: node for node in found}


def names(path: Path) -> set[str]:
    return set(nodes(path))


A, B = WantedReplica("a", zone="z", weight=2), WantedReplica("b")


def test_a_replica_is_written_when_it_is_ready_and_the_next_plan_is_empty(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "replicas.toml"
    run(registered(world, path, A, B))
    there = nodes(path)
    assert there["a"].dsn.reveal() == "postgresql://app:tr0ub4dor@host-a:5432/hotel?sslmode=require"
    assert [(node.weight, node.zone) for node in (there["a"], there["b"])] == [(2, "z"), (1, None)]
    assert not planned(registered(world, path, A, B)).steps


def test_they_stand_in_the_order_of_the_declaration_whoever_is_ready_first(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "replicas.toml"
    path.write_text('# ours\n[[replica]]\nname = "x"\ndsn = "postgresql://x/d"\n')
    run(registered(world, path, WantedReplica("c"), WantedReplica("d")))
    run(registered(world, path, A, WantedReplica("c"), B, WantedReplica("d")))
    assert list(nodes(path)) == ["x", "a", "c", "b", "d"]
    assert path.read_text().startswith('# ours\n[[replica]]\nname = "x"\n')
    assert "\n\n\n" not in path.read_text()
    assert path.read_text().count("\n\n[[replica]]\n") == 3


def test_weight_and_zone_follow_the_file_and_what_else_stands_there_stays(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "replicas.toml"
    run(registered(world, path, A))
    path.write_text(
        path.read_text()
        + 'drain = true # for the night\n\n[[replica]]\nname = "x"\ndsn = "postgresql://x/d"\n'
    )
    plan = run(registered(world, path, WantedReplica("a", zone="z", weight=7)))
    assert [(step.title, step.change.differences[0].wanted) for step in plan.steps] == [
        ("write a into replicas.toml", "7")
    ]
    assert (nodes(path)["a"].weight, nodes(path)["a"].draining, names(path)) == (7, True, {"a", "x"})
    assert "# for the night" in path.read_text()


def test_who_goes_is_taken_out_first_and_its_readers_leave(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "replicas.toml"
    left: list[str] = []
    run(registered(world, path, A, B))
    run(registered(world, path, B, left=left))
    assert (names(path), left) == ({"b"}, ["a at host-a:5432/hotel"])
    assert ("replica", "a") not in world.there
    destroy(registered(world, path, B, left=left))
    assert (names(path), world.there) == (set(), {})


def test_when_nobody_can_be_asked_the_replica_goes_all_the_same(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "replicas.toml"
    run(registered(world, path, A))
    provider = registered(world, path)

    async def silent(name: str, dsn: Dsn, tell: Tell) -> None:
        raise ProvisionError("a does not answer")

    provider._drained = silent
    run(provider)
    assert (names(path), world.there) == (set(), {})


def test_a_replica_that_moved_is_written_anew(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "replicas.toml"
    run(registered(world, path, B))
    path.write_text(path.read_text().replace("host-b", "older"))
    assert [step.title for step in run(registered(world, path, B)).steps] == ["write b into replicas.toml"]
    assert nodes(path)["b"].dsn.hosts == (("host-b", 5432),)


def test_without_a_connection_string_the_plan_says_so_and_destroy_still_works(tmp_path: Path) -> None:
    def unset() -> Dsn:
        raise ConfigurationError(("DATABASE_URL: is not set",), "Set it.")

    world, path = World(), tmp_path / "replicas.toml"
    run(registered(world, path, A))
    provider = registered(world, path, A)
    provider._dsn = unset
    assert planned(provider).problems == ("DATABASE_URL: is not set; Set it.",)
    destroy(provider)
    assert (names(path), world.there) == (set(), {})


def test_a_broken_fleet_file_is_a_problem_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "replicas.toml"
    path.write_text("broken = [")
    (problem,) = planned(registered(World(), path, A)).problems
    assert problem.startswith(f"{path}: is not TOML")
    assert path.read_text() == "broken = ["


def test_a_fleet_file_that_has_no_place_is_told_before_anything_is_made(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "replicas.toml"
    (problem,) = planned(registered(World(), path, A)).problems
    assert problem == f"{path}: its directory is not there; make it, or name another file"


def test_the_commands_are_pgfleet_s_own(tmp_path: Path) -> None:
    steps = planned(registered(World(), tmp_path / "replicas.toml", A)).steps
    (command,) = steps[-1].commands
    assert command == f"pgfleet replica add a - --weight 2 --zone z --file {tmp_path}/replicas.toml"


def test_which_file_it_is(tmp_path: Path) -> None:
    environ = {"PGFLEET_FLEET_FILE": str(tmp_path / "environment.toml")}
    assert fleet_file(Declaration("f", "rds", (), register="/etc/r.toml"), environ) == "/etc/r.toml"
    assert fleet_file(Declaration("f", "rds", ()), environ) == environ["PGFLEET_FLEET_FILE"]
    assert fleet_file(Declaration("f", "rds", ()), {}) == ""


wishes = st.lists(
    st.tuples(st.lists(st.sampled_from("abc"), unique=True), st.integers(0, 8 * PIECES)), max_size=3
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(wishes, st.lists(st.sampled_from("abc"), unique=True))
def test_killed_anywhere_the_next_apply_leaves_the_file_as_the_replicas_are(
    tmp_path: Path, killed: list[tuple[list[str], int]], last: list[str]
) -> None:
    world, path = World(), tmp_path / "replicas.toml"
    path.unlink(missing_ok=True)
    for wanted, pieces in killed:
        world.pieces_left = pieces
        with suppress(Killed):
            run(registered(world, path, *map(WantedReplica, wanted)))
    world.pieces_left = 1_000_000
    run(registered(world, path, *map(WantedReplica, last)))
    assert names(path) == set(last) == {name for kind, name in world.there if kind == "replica"}


@pytest.mark.parametrize("wanted", [(A,), (A, B)])
def test_nothing_of_it_shows_the_password(tmp_path: Path, wanted: tuple[WantedReplica, ...]) -> None:
    assert "tr0ub4dor" not in repr(planned(registered(World(), tmp_path / "replicas.toml", *wanted)))
