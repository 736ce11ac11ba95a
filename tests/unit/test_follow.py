"""A running router follows the fleet file and discovery, and keeps what it has when they fail."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pgfleet import discovery as discoveries
from pgfleet.core.membership import Found
from pgfleet.errors import DiscoveryError
from pgfleet.ports import Runtime
from pgfleet.settings import Settings
from pgfleet.settings.fleet_file import read_fleet_file
from tests.fakes import FakeAsyncRouter, FakeServer, fleet_settings, fleet_world, in_virtual_time, pass_time

HOSTS = ("replica-1", "replica-2", "replica-3", "db-4", "db-5")


def fleet_file(path: Path, *names: str, more: str = "") -> None:
    """Written whole, and never with the stamp of before."""
    tables = [
        f'[[replica]]\nname = "{name}"\ndsn = "postgresql://u:secret@{name}:5432/db"\nmin_connections = 0\n{more}'
        for name in names
    ]
    new = path.with_suffix(".new")
    new.write_text("# the fleet\n" + "\n".join(tables))
    new.replace(path)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[FakeAsyncRouter]:
    world = fleet_world(3)
    world.servers |= {name: FakeServer(name) for name in HOSTS if name not in world.servers}
    async with FakeAsyncRouter(world, settings) as router:
        yield router


def names(router: FakeAsyncRouter) -> list[str]:
    return [node.name for node in router.topology.nodes]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage()
        for r in caplog.records
        if r.levelno == logging.WARNING and "fleet stays" in r.getMessage()
    ]


@in_virtual_time
async def test_an_edit_is_followed_and_a_broken_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fleet.toml"
    fleet_file(path, "db-4")
    settings = replace(fleet_settings(1), fleet_file=str(path))
    async with opened(settings) as router:
        assert names(router) == ["primary", "replica-1", "db-4"]
        fleet_file(path, "db-4", "db-5")
        await pass_time(3.0)
        assert names(router) == ["primary", "replica-1", "db-4", "db-5"]
        assert "db-5" in router.explain().candidates
        fleet_file(path, "db-5", more="weight = 0\n")
        await pass_time(5.0)
        path.write_text("[[replica")
        await pass_time(5.0)
        path.unlink()
        await pass_time(5.0)
        fleet_file(path, "replica-1")
        await pass_time(5.0)
        assert names(router) == ["primary", "replica-1", "db-4", "db-5"], "as long as it is broken"
        assert [line.partition(": ")[2].partition(":")[0] for line in warnings(caplog)] == [
            "PGFLEET_FLEET_FILE replica[0].weight",
            "PGFLEET_FLEET_FILE",
            "PGFLEET_FLEET_FILE",
            "PGFLEET_FLEET_FILE replica[0].name",
        ]
        assert "secret" not in caplog.text
        fleet_file(path, "db-5")
        await pass_time(3.0)
        assert names(router) == ["primary", "replica-1", "db-5"]


@in_virtual_time
async def test_drain_in_the_file_drains(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    fleet_file(path, "db-4", "db-5", more="drain = true\n")
    in_file, _ = read_fleet_file(str(path))
    async with opened(replace(fleet_settings(0), replicas=in_file, fleet_file=str(path))) as router:
        assert router.explain().candidates == ("primary",)
        router.undrain("db-4")
        assert router.explain().candidates == ("primary",), "the file says otherwise"
        fleet_file(path, "db-4", "db-5")
        await pass_time(3.0)
        assert router.explain().candidates == ("db-4", "db-5", "primary")


@in_virtual_time
async def test_what_newcomers_are_made_of_is_the_settings_word(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    fleet_file(path, "db-4")
    settings = replace(
        fleet_settings(1), fleet_file=str(path), adapt=lambda node: replace(node, max_connections=2)
    )
    async with opened(settings) as router:
        reads, _ = router.pool_stats()["db-4"]
        assert reads.max_connections == 2


@dataclass
class Told:
    """A discovery that says what a test wants."""

    answers: list[Sequence[Found] | Exception] = field(default_factory=list)
    interval_s: float = 10.0
    asked: int = 0

    def __call__(self, address: str, runtime: Runtime) -> Told:
        return self

    async def find(self) -> Sequence[Found]:
        self.asked += 1
        answer = self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


TOLD = Told()
PRIMARY = Found("leader", "primary", 5432)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setitem(discoveries.SCHEMES, "static", f"{__name__}:TOLD")
    monkeypatch.setattr(discoveries, "import_module", lambda _: __import__("sys").modules[__name__])
    TOLD.__init__()  # type: ignore[misc]  # as new
    return TOLD


def at(*hosts: str) -> list[Found]:
    return [Found(host, host, 5432) for host in hosts]


@in_virtual_time
async def test_what_is_found_is_there_when_the_router_opens_and_is_followed(told: Told) -> None:
    told.answers = [[PRIMARY, *at("db-4")]]
    async with opened(replace(fleet_settings(0), discovery="static:x")) as router:
        assert names(router) == ["primary", "db-4"]
        assert "db-4" in router.explain().candidates
        told.answers = [at("db-4", "db-5")]
        await pass_time(12.0)
        assert names(router) == ["primary", "db-4", "db-5"]
        told.answers = [[PRIMARY]]
        await pass_time(12.0)
        assert names(router) == ["primary"], "a fleet without replicas is an answer"


@in_virtual_time
async def test_no_answer_and_an_empty_one_keep_the_fleet_and_are_told_once(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    told.answers = [at("db-4")]
    async with opened(replace(fleet_settings(0), discovery="static:x")) as router:
        told.answers = [DiscoveryError("nobody answers")]
        await pass_time(60.0)
        told.answers = [[]]
        await pass_time(60.0)
        told.answers = [at("a b")]
        await pass_time(60.0)
        assert names(router) == ["primary", "db-4"]
        assert len(warnings(caplog)) == 3
        assert "PGFLEET_DISCOVERY: nobody answers" in warnings(caplog)[0]
        told.answers = [at("db-4", "db-5")]
        await pass_time(6.0)
        assert names(router) == ["primary", "db-4", "db-5"], "after a failure it is asked sooner"


@in_virtual_time
async def test_its_own_ttl_is_the_interval(told: Told) -> None:
    told.answers = [at("db-4")]
    async with opened(replace(fleet_settings(0), discovery="static:x")):
        told.interval_s = 100.0
        await pass_time(15.0)
        before = told.asked
        await pass_time(90.0)
        assert told.asked == before
        await pass_time(30.0)
        assert told.asked == before + 1


@in_virtual_time
async def test_a_server_that_is_configured_too_is_the_one_that_is_configured(told: Told) -> None:
    told.answers = [[Found("one", "replica-1", 5432), Found("replica-2", "db-4", 5432), *at("db-5")]]
    async with opened(replace(fleet_settings(2), discovery="static:x")) as router:
        assert names(router) == ["primary", "replica-1", "replica-2", "db-5"]


def test_the_stamp_of_a_file_sees_a_replacement_of_the_same_size(tmp_path: Path) -> None:
    from pgfleet.members.sources import _stamp

    path = tmp_path / "fleet.toml"
    fleet_file(path, "db-4")
    before = _stamp(str(path))
    kept = os.stat(path)
    fleet_file(path, "db-5")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert _stamp(str(path)) != before
