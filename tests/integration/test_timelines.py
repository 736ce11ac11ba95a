"""Roles are found by asking, and a standby of the old primary is never believed after a promotion."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from pgfleet.local import LocalFleet
from pgfleet.testing import eventually_async
from tests.conftest import INSTALLATIONS
from tests.faces import FACES, PORT, Face, Router, aside, environ, plain_environ, port

TASKS, OTHER_TASKS, THREADS = FACES
UNPROVEN = "not yet proven to follow the primary's timeline"


@pytest.fixture
def broken_fleet() -> Iterator[LocalFleet]:
    with LocalFleet.temporary() as fleet:
        yield fleet


async def becomes(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    async def met() -> bool:
        return condition()

    await eventually_async(met, within_s)


def _is_candidate(router: Router, name: str) -> bool:
    return name in router.candidates(max_lag_s=5.0)


def _writes_go_to(router: Router, name: str) -> bool:
    return bool(router.raw.topology.primary_name == name)


def swapped(settings: dict[str, str], one: str, other: str) -> dict[str, str]:
    """The connection strings of two nodes exchanged."""
    return settings | {one: settings[other], other: settings[one]}


@pytest.mark.parametrize("face", FACES, ids=str)
async def test_roles_are_what_the_servers_say(face: Face, fleet: LocalFleet) -> None:
    settings = swapped(environ(fleet), "DATABASE_URL", "READ_REPLICA_1_CONNECTION_STRING")
    fleet.sql("primary", "create table if not exists role_of (face text)")
    async with face.open(settings) as router:
        assert router.raw.topology.primary_name == "replica-1"
        last_resort = ("primary", "replica-2", "replica-3", "replica-1")
        await becomes(lambda: router.candidates() == last_resort)
        async with router.write() as conn:
            assert await conn.value(PORT) == port(fleet, "primary")
            await conn.rows("insert into role_of values ($1)", str(face))
        reads = {await router.value(PORT) for _ in range(12)}
        assert port(fleet, "primary") not in reads
        assert await router.value(PORT, prefer_replica=False) == port(fleet, "primary")
        assert all(router.raw.is_healthy(name) for name in fleet.names)


@pytest.mark.parametrize(
    ("pg_bin", "plain"),
    [(None, False), *((path, True) for path in INSTALLATIONS)],
    ids=lambda value: value.parent.name if isinstance(value, Path) else str(value),
)
async def test_standbys_of_the_old_primary_are_never_read_after_a_promotion(
    pg_bin: Path | None, plain: bool
) -> None:
    """Neither pg_monitor nor a plain role, which sees less, believes them."""
    with LocalFleet.temporary(pg_bin=pg_bin) as fleet:
        await _promote_under_a_router(fleet, OTHER_TASKS if plain else TASKS, plain)


async def _promote_under_a_router(fleet: LocalFleet, face: Face, plain: bool) -> None:
    fleet.sql("primary", "create table post (n int, ghost bool)")
    settings = plain_environ(fleet) if plain else environ(fleet)
    async with face.open(settings) as router:
        await becomes(lambda: len(router.candidates()) == 4)
        await aside(fleet.promote, "replica-1")
        haunt = asyncio.create_task(
            aside(_write_ghosts, fleet)
        )  # the old primary lives, and writes past the fork
        await becomes(lambda: router.raw.topology.primary_name == "replica-1")
        async with router.write(org_id=7) as conn:
            await conn.rows("insert into post values (1, false)")
            assert await conn.value(PORT) == port(fleet, "replica-1")
        until_s = time.monotonic() + 2.0
        while time.monotonic() < until_s:
            for options in ({}, {"max_lag_s": 1.0}, {"org_id": 7}, {"prefer_replica": False}):
                rows = [tuple(row) for row in await router.fetch("select n, ghost from post", **options)]
                assert rows == [(1, False)]
            assert not {"primary", "replica-2", "replica-3"} & set(router.candidates())
        await haunt
        past = "select count(*) from post where ghost"
        assert fleet.sql("replica-2", past) == fleet.sql("primary", past) == [("300",)]
        assert router.reason("primary") == "is an old primary"
        assert router.reason("replica-2") == router.reason("replica-3") == UNPROVEN
        assert not router.raw.is_healthy("replica-2")
        for name in ("replica-2", "primary"):
            await aside(fleet.rejoin, name)
            await becomes(partial(_is_candidate, router, name))
            reads = {await router.value(PORT) for _ in range(4)}
            assert port(fleet, name) in reads
            assert await router.value("select count(*) from post where ghost") == 0
        assert router.reason("replica-3") == UNPROVEN


def _write_ghosts(fleet: LocalFleet) -> None:
    for _ in range(30):
        fleet.sql("primary", "insert into post select 0, true from generate_series(1, 10)")


@pytest.mark.parametrize("face", [TASKS, THREADS], ids=str)
async def test_a_promoted_replica_takes_over_from_a_dead_primary(
    face: Face, broken_fleet: LocalFleet
) -> None:
    fleet = broken_fleet
    fleet.sql("primary", "create table post (n int)")
    async with face.open(environ(fleet)) as router:
        await router.execute("insert into post values (1)")
        await _all_have(fleet, 1)
        await aside(fleet.kill, "primary")
        await aside(fleet.promote, "replica-2")
        await becomes(lambda: router.raw.topology.primary_name == "replica-2")
        assert await router.execute("insert into post values (2)", org_id="a") == "INSERT 0 1"
        for _ in range(10):
            assert await router.value("select count(*) from post", org_id="a") == 2
            assert await router.value(PORT) == port(fleet, "replica-2")
        assert router.reason("replica-1") == UNPROVEN
        await aside(fleet.rejoin, "replica-1")
        await aside(fleet.rejoin, "primary")
        await becomes(lambda: {"primary", "replica-1"} <= set(router.candidates()))
        assert await router.value("select count(*) from post", org_id="a") == 2
        ports = {await router.value(PORT) for _ in range(6)}
        assert ports == {port(fleet, "primary"), port(fleet, "replica-1")}


async def _all_have(fleet: LocalFleet, count: int) -> None:
    await becomes(lambda: all(_has(fleet, name, count) for name in fleet.names))


def _has(fleet: LocalFleet, name: str, count: int) -> bool:
    """The table is new: a replica that has not replayed it would answer with an error."""
    is_there = fleet.sql(name, "select to_regclass('post') is not null") == [("t",)]
    return is_there and fleet.sql(name, "select count(*) from post") == [(str(count),)]


@pytest.mark.parametrize("face", [TASKS], ids=str)
async def test_a_router_that_comes_late_judges_the_same(face: Face, broken_fleet: LocalFleet) -> None:
    """Opened after the promotion, with the settings of before: it never saw the old timeline."""
    fleet = broken_fleet
    fleet.sql("primary", "create table post (n int)")
    await _all_have(fleet, 0)
    await aside(fleet.promote, "replica-1")
    fleet.sql("primary", "insert into post values (0)")  # past the fork
    fleet.sql("replica-1", "insert into post values (1)")
    for settings in (environ(fleet), plain_environ(fleet)):
        async with face.open(settings) as router:
            await becomes(partial(_writes_go_to, router, "replica-1"))
            for _ in range(20):
                assert await router.value("select n from post") == 1
                assert await router.value("select n from post", max_lag_s=1.0) == 1
            assert router.candidates() == ("replica-1",)
