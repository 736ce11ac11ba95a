from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from pgfleet.errors import ConfigurationError
from pgfleet.settings import Dsn, NodeSettings, Secret, Settings

PRIMARY = NodeSettings("primary", Dsn.parse("postgresql://app:Γάτα@primary/hotel"))
REPLICA = NodeSettings("replica-1", Dsn.parse("postgresql://app:Γάτα@replica/hotel"))


def problems(primary: NodeSettings = PRIMARY, *replicas: NodeSettings, **fields: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        Settings(primary, replicas, **fields)
    return caught.value.problems


def test_made_in_code_they_are_checked_alike() -> None:
    assert Settings(PRIMARY, (REPLICA,)).replicas == (REPLICA,)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_replicas", "true"),
        ("health_check_interval_s", 0.0),
        ("max_idle_s", -1.0),
        ("max_lifetime_s", float("inf")),
        ("connection_timeout_s", "30s"),
        ("query_timeout_s", True),
        ("max_lag_s", float("nan")),
        ("fallback_share", 0),
        ("fallback_rate", 0.5),
        ("overload", "drop"),
        ("retry_budget", 1.01),
        ("policy", "random"),
        ("token_secrets", Secret("x" * 32)),
        ("token_secrets", [Secret("x" * 32)]),
        ("token_secrets", ("Γάτα" * 8,)),
        ("token_secrets", "Γάτα"),
        ("token_secrets", (Secret("Γάτα"),)),
        ("token_secrets", (Secret("x" * 32), Secret("x" * 31))),
        ("token_secrets", (Secret("x" * 32),) * 9),
        ("token_secrets", None),
        ("token_errors", "log"),
        ("catchup_wait_ms", -0.001),
        ("catchup_wait_ms", 60_000.5),
        ("catchup_wait_ms", float("nan")),
        ("catchup_wait_ms", "10"),
        ("unknown", "shut"),
        ("unqualified", None),
        ("unqualified", "stale"),
        ("lost_writes", True),
        ("api_token", "Γάτα"),
        ("api_token", Secret("")),
        ("api_token", "Γάτα" * 5),
    ],
)
def test_one_wrong_field_is_one_line(field: str, value: Any) -> None:
    (line,) = problems(**{field: value})
    assert line.startswith(f"{field}: ")
    assert "; write for example " in line
    assert "Γάτα" not in line


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a b"),
        ("weight", 0),
        ("weight", 1.0),
        ("zone", ""),
        ("max_connections", 0),
        ("min_connections", 51),
        ("draining", 1),
        ("shared_endpoint", 1),
    ],
)
def test_a_wrong_node_is_told_by_its_place(field: str, value: Any) -> None:
    (line,) = problems(PRIMARY, replace(REPLICA, **{field: value}))
    assert line.startswith(f"replicas[0].{field}: ")


def test_the_primary_cannot_be_drained() -> None:
    (line,) = problems(replace(PRIMARY, draining=True))
    assert line == "primary.draining: the primary cannot be drained; write False"


def test_the_primary_is_no_shared_endpoint() -> None:
    (line,) = problems(replace(PRIMARY, shared_endpoint=True))
    assert line == "primary.shared_endpoint: the primary is one server; write False"


def test_a_shared_endpoint_is_no_pooler() -> None:
    replica = replace(REPLICA, probe_dsn=Dsn.parse("postgresql://itself/db"), shared_endpoint=True)
    lines = problems(replace(PRIMARY, probe_dsn=PRIMARY.dsn), replica, pooler="transaction")
    assert [line.partition(":")[0] for line in lines] == ["replicas[0].shared_endpoint"]


def test_nodes_are_checked_together() -> None:
    lines = problems(PRIMARY, REPLICA, REPLICA, replace(PRIMARY, name="again"))
    assert [line.partition(":")[0] for line in lines] == [
        "replicas[1].name",
        "replicas[1].dsn",
        "replicas[2].dsn",
    ]


def test_a_name_that_is_a_connection_string_is_not_told() -> None:
    wrong = replace(REPLICA, name=REPLICA.dsn.reveal())
    assert "Γάτα" not in "".join(problems(PRIMARY, wrong, wrong))


def test_the_labels_follow_the_variable() -> None:
    (line,) = problems(replace(PRIMARY, variable="DATABASE_URL", max_connections=0, min_connections=0))
    assert line.startswith("DB_MAX_CONNECTIONS: ")


def test_are_frozen_and_pickle() -> None:
    settings = Settings(PRIMARY, (REPLICA,), api_token=Secret("x"), token_secrets=(Secret("y" * 32),))
    assert pickle.loads(pickle.dumps(settings)) == settings
    with pytest.raises(FrozenInstanceError):
        settings.max_lag_s = 1  # type: ignore[misc]


def test_a_password_may_be_asked_for_and_is_never_shown() -> None:
    def ask(password: str = "Γάτα") -> str:
        return password

    settings = Settings(replace(PRIMARY, password=ask), (REPLICA,), api_token=Secret("Γάτα".encode().hex()))
    assert settings.primary.password is ask
    assert "Γάτα" not in repr(settings)
    assert "Γάτα".encode().hex() not in repr(settings)


def test_secrets_are_measured_in_bytes_and_never_shown() -> None:
    settings = Settings(PRIMARY, token_secrets=(Secret("Γάτα" * 4), Secret("\udcff" * 32)))
    assert [len(secret.reveal_bytes()) for secret in settings.token_secrets] == [32, 32]
    assert "Γάτα" not in repr(settings)


def test_importing_them_loads_nothing_heavy() -> None:
    code = "import json, sys, pgfleet.settings; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", code])))
    heavy = {
        "asyncio",
        "socket",
        "logging",
        "urllib.parse",
        "hmac",
        "difflib",
        "pydantic",
        "psycopg",
        "asyncpg",
    }
    assert loaded & heavy == set()
