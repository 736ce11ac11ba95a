"""A replica comes and goes while two running routers, of either face, are read from: nobody notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgfleet import DrainRefused, DrainTimeout, UnknownNode
from pgfleet.local import LocalFleet
from tests.cli.command import pgfleet
from tests.faces import FACES, Face, Router, aside, environ
from tests.fault.load import becomes, load

TASKS, _, THREADS = FACES
FOUR = ("replica-1", "replica-2", "replica-3", "replica-4")
THREE = FOUR[:3]


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    with LocalFleet.temporary(replicas=4) as fleet:
        yield fleet


def settings_of(fleet: LocalFleet, **more: str | None) -> dict[str, str]:
    """Three replicas of the four."""
    fourth = {name: None for name in environ(fleet) if name.startswith("READ_REPLICA_4_")}
    return environ(fleet, **fourth, **more)


def names(router: Router) -> list[str]:
    return [node.name for node in router.raw.topology.nodes]


def connections(fleet: LocalFleet, name: str) -> int:
    ours = "select count(*) from pg_stat_activity where application_name = 'pgfleet'"
    return int(fleet.sql(name, ours)[0][0])


async def test_a_fourth_replica_comes_and_goes_by_the_file(fleet: LocalFleet, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text("# nobody yet\n")
    settings = settings_of(fleet, PGFLEET_FLEET_FILE=str(file))

    async def edit(*args: str) -> None:
        done = await aside(pgfleet, "replica", *args, environ=settings)
        assert done.returncode == 0, done.stderr

    async with (
        TASKS.open(settings) as tasks,
        THREADS.open(settings) as threads,
        load(fleet, tasks) as by_tasks,
        load(fleet, threads) as by_threads,
    ):
        routers = ((tasks, by_tasks), (threads, by_threads))
        for _, seen in routers:
            assert set(await seen.after(100)) == set(THREE)
        await edit("add", "replica-4", fleet.dsn("replica-4"), "--min-connections", "0")
        for router, seen in routers:
            await becomes(lambda router=router: "replica-4" in router.candidates())  # type: ignore[misc]
            assert set(await seen.after(200)) == set(FOUR)
        await edit("drain", "replica-4")
        for router, seen in routers:
            await becomes(lambda router=router: router.reason("replica-4") == "is being drained")  # type: ignore[misc]
            await router.face.call(router.raw.drain, "replica-4")
            assert set(await seen.after(200)) == set(THREE)
            assert router.raw.is_healthy("replica-4"), "it is watched on"
        assert connections(fleet, "replica-4") == 2, "those of the probes"
        await edit("remove", "replica-4")
        for router, _ in routers:
            await becomes(lambda router=router: "replica-4" not in names(router))  # type: ignore[misc]
        await becomes(lambda: connections(fleet, "replica-4") == 0)
        for _, seen in routers:
            assert set(await seen.after(100)) == set(THREE)


async def test_removed_without_a_drain_it_loses_no_read_either(fleet: LocalFleet, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    settings = settings_of(fleet, PGFLEET_FLEET_FILE=str(file))

    def edit(*args: str) -> None:
        done = pgfleet("replica", *args, environ=settings)
        assert done.returncode == 0, done.stderr

    edit("add", "replica-4", fleet.dsn("replica-4"), "--no-check")
    async with THREADS.open(settings) as router, load(fleet, router) as seen:
        assert set(await seen.after(200)) == set(FOUR)
        async with router.read() as held:
            name = {fleet.node(n).port: n for n in fleet.names}[await held.value("select inet_server_port()")]
            await aside(edit, "remove", "replica-4")
            await becomes(lambda: "replica-4" not in router.candidates())
            assert set(await seen.after(100)) == set(THREE)
            assert await held.value("select 1") == 1
            if name == "replica-4":
                assert name in names(router), "as long as something is lent there"
        await becomes(lambda: "replica-4" not in names(router))


async def test_the_addresses_alone_are_enough(fleet: LocalFleet) -> None:
    none = {name: None for name in environ(fleet) if name.startswith("READ_REPLICA_")}
    places = ",".join(f"127.0.0.1:{fleet.node(name).port}" for name in ("primary", *FOUR))
    settings = environ(fleet, **none, PGFLEET_DISCOVERY=f"static:{places}")
    async with TASKS.open(settings) as router, load(fleet, router) as seen:
        assert names(router) == ["primary", *(f"127.0.0.1-{fleet.node(name).port}" for name in FOUR)]
        await becomes(lambda: len(router.candidates()) == 5)
        assert set(await seen.after(200)) == set(FOUR)


@pytest.mark.parametrize("face", FACES, ids=str)
async def test_drain_waits_and_undrain_brings_back(face: Face, fleet: LocalFleet) -> None:
    async with face.open(settings_of(fleet)) as router:

        async def drain(name: str, timeout_s: float | None = None) -> None:
            await face.call(router.raw.drain, name, timeout_s=timeout_s)

        with pytest.raises(DrainRefused):
            await drain("primary")
        with pytest.raises(UnknownNode, match="replica-4"):
            await drain("replica-4")
        async with load(fleet, router) as seen:
            await drain("replica-1")
            assert set(await seen.after(100)) == {"replica-2", "replica-3"}
            router.raw.undrain("replica-1")
            assert set(await seen.after(100)) == set(THREE)
        async with router.read() as conn:
            name = {fleet.node(n).port: n for n in fleet.names}[await conn.value("select inet_server_port()")]
            with pytest.raises(DrainTimeout, match="1 connection is still lent"):
                await drain(name, timeout_s=0.1)
            assert await conn.value("select 1") == 1
        await drain(name)
        assert sum(pool.active + pool.idle for pool in router.raw.pool_stats()[name]) == 0
