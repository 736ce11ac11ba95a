"""The types that callers see. mypy reads this file with all the others; the test makes sure that it would notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import asyncpg
import psycopg
import pytest
from mypy import api

from pgfleet import (
    AsyncReplicaRouter,
    Dsn,
    Explanation,
    LeaseTimeout,
    NodeSettings,
    PgfleetError,
    ReplicaRouter,
    Settings,
    Topology,
)

Threads = psycopg.Connection[Any]
Tasks = psycopg.AsyncConnection[Any]


def threads(environ: dict[str, str]) -> None:
    router = ReplicaRouter.from_env(environ)
    assert_type(router, ReplicaRouter[Threads])
    with router as entered:
        assert_type(entered, ReplicaRouter[Threads])
    with router.read(org_id=7, max_lag_s=0.5, timeout_s=1.0) as conn:
        assert_type(conn, Threads)
    with router.read(transaction=True, prefer_replica=False) as conn:
        assert_type(conn, Threads)
    with router.write(org_id="hotel", transaction=False) as conn:
        assert_type(conn, Threads)
    assert_type(router.fetch("select %s", 1), list[Any])
    assert_type(router.execute("delete from booking"), str)
    router.drain("replica-1", timeout_s=5.0)
    router.undrain("replica-1")
    assert_type(router.run_read(lambda conn: conn.info.server_version), int)
    assert_type(router.has_replicas(), bool)
    assert_type(router.is_healthy("replica-1"), bool)
    assert_type(router.topology, Topology)
    assert_type(router.explain(org_id=7), Explanation)
    router.accept_cluster(7)
    assert_type(router.open(), ReplicaRouter[Threads])
    assert_type(router.settings, Settings)


async def tasks_of_psycopg() -> None:
    router = AsyncReplicaRouter.from_env()
    assert_type(router, AsyncReplicaRouter[Tasks])
    assert_type(AsyncReplicaRouter.from_env(driver="psycopg"), AsyncReplicaRouter[Tasks])
    async with router.read() as conn:
        assert_type(conn, Tasks)
    async with router.write() as conn:
        assert_type(conn, Tasks)
    assert_type(await router.fetch("select 1", timeout_s=1.0, hedge=True), list[Any])
    assert_type(await router.execute("delete from booking", org_id=7), str)
    await router.drain("replica-1", timeout_s=5.0)
    router.undrain("replica-1")
    assert_type(await router.run_read(_server_version), int)
    router.accept_cluster(7)
    assert_type(await router.open(), AsyncReplicaRouter[Tasks])


async def _server_version(conn: Tasks) -> int:
    return conn.info.server_version


async def tasks_of_asyncpg() -> None:
    router = AsyncReplicaRouter.from_env(driver="asyncpg")
    assert_type(router, AsyncReplicaRouter[asyncpg.Connection])
    async with router.read() as conn:
        assert_type(conn, asyncpg.Connection)
    assert_type(AsyncReplicaRouter.from_env({}, "asyncpg"), AsyncReplicaRouter[asyncpg.Connection])


def settings_in_code() -> Settings:
    primary = NodeSettings("primary", Dsn.parse("postgresql://u@h/d"))
    settings = Settings(primary, use_replicas=False)
    assert_type(settings.replicas, tuple[NodeSettings, ...])
    assert_type(settings.max_lag_s, float)
    return settings


def errors(error: LeaseTimeout) -> tuple[str, str]:
    general: PgfleetError = error
    builtin: TimeoutError = error
    del builtin
    return assert_type(general.message, str), assert_type(general.hint, str)


WRONG = {
    "router.read(org='hotel')": "call-arg",
    "router.fetch(7)": "arg-type",
    "router.read(max_lag_s='1s')": "arg-type",
    "router.is_healthy(1)": "arg-type",
    "router.accept_cluster('7')": "arg-type",
    "router.drain(1)": "arg-type",
    "router.drain('replica-1', 5.0)": "call-arg",
    "router.run_read(lambda conn: conn.nonsense)": "attr-defined",
    "with router.write() as conn: conn.nonsense": "attr-defined",
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says of every wrong use, a function each."""
    lines = ["from pgfleet import ReplicaRouter", "router = ReplicaRouter.from_env()"]
    lines += [f"def wrong_{n}() -> None:\n    {code}" for n, code in enumerate(WRONG)]
    path = tmp_path_factory.mktemp("types") / "wrong.py"
    path.write_text("\n".join(lines) + "\n")
    config = Path(__file__).parents[2] / "pyproject.toml"
    said, trouble, _ = api.run(["--config-file", str(config), "--no-incremental", str(path)])
    assert not trouble
    return said


@pytest.mark.parametrize("code", WRONG)
def test_a_wrong_use_is_seen(verdicts: str, code: str) -> None:
    line = 4 + 2 * list(WRONG).index(code)
    assert any(f"wrong.py:{line}: error" in said and WRONG[code] in said for said in verdicts.splitlines()), (
        verdicts
    )


def test_this_file_is_right() -> None:
    said, _, status = api.run([__file__])
    assert status == 0, said
