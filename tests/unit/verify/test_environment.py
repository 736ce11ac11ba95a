"""The item of the environment: every problem named, no value shown."""

from __future__ import annotations

from pgfleet.verify.items import Outcome
from pgfleet.verify.judgements.environment import GUIDE, environment_item

SECRET = "tr0ub4dor"
FLEET = {
    "DATABASE_URL": f"postgresql://app:{SECRET}@primary:5432/hotel",
    "USE_READ_REPLICAS": "true",
    "READ_REPLICA_1_CONNECTION_STRING": f"postgresql://app:{SECRET}@replica-1:5432/hotel",
    "READ_REPLICA_2_CONNECTION_STRING": f"postgresql://app:{SECRET}@replica-2:5432/hotel",
}


def problems(**changes: str) -> list[str]:
    item = environment_item(FLEET | changes)
    assert item.outcome is (Outcome.FAILED if item.figures["problems"] else Outcome.PASSED)
    assert SECRET not in repr(item)
    return list(item.figures["problems"])


def test_an_environment_that_is_right() -> None:
    item = environment_item(FLEET)
    assert (item.outcome, item.next_step) == (Outcome.PASSED, "")
    assert item.evidence == (
        "DATABASE_URL is set; 2 replicas in the environment",
        f"{len(GUIDE)} of the guide's {len(GUIDE)} other settings have their defaults",
    )


def test_the_whole_guide() -> None:
    guide = {
        "REPLICA_HEALTH_CHECK_INTERVAL": "30000",
        "DB_MAX_CONNECTIONS": "100",
        "DB_MIN_CONNECTIONS": "10",
        "DB_MAX_IDLE_TIME": "10m",
        "DB_MAX_LIFETIME": "1h",
        "DB_CONNECTION_TIMEOUT": "30s",
        "DB_QUERY_TIMEOUT": "60s",
    }
    assert environment_item(FLEET | guide).evidence[1] == "every other setting of the guide is set"


def test_a_misspelt_variable_is_a_problem() -> None:
    assert problems(PGFLEET_MAX_LAGS="3") == [
        "PGFLEET_MAX_LAGS: nothing reads it; did you mean PGFLEET_MAX_LAG_S?"
    ]
    assert problems(PGFLEET_QQ="3") == ["PGFLEET_QQ: nothing reads it; remove it"]
    (told,) = problems(READ_REPLICA_3_CONECTION_STRING=f"postgresql://u:{SECRET}@h/d")
    assert told.endswith("is no variable of pgfleet; write READ_REPLICA_3_CONNECTION_STRING")


def test_every_problem_is_told_at_once() -> None:
    told = problems(DB_MAX_CONNECTIONS="many", DB_QUERY_TIMEOUT="soon", USE_READ_REPLICAS="")
    names = {line.partition(":")[0] for line in told}
    assert names == {"DB_QUERY_TIMEOUT", "DB_MAX_CONNECTIONS", "USE_READ_REPLICAS"}


def test_replicas_that_are_switched_off() -> None:
    (told,) = problems(USE_READ_REPLICAS="false")
    assert told.startswith("USE_READ_REPLICAS: is not true")


def test_no_replica_at_all() -> None:
    item = environment_item({"DATABASE_URL": FLEET["DATABASE_URL"], "USE_READ_REPLICAS": "true"})
    assert item.outcome is Outcome.FAILED
    assert item.evidence[0].startswith("READ_REPLICA_1_CONNECTION_STRING: is not set")


def test_without_a_primary_nothing_is_said_of_one() -> None:
    item = environment_item({"USE_READ_REPLICAS": "true"})
    assert any(line.startswith("DATABASE_URL: is not set") for line in item.evidence)
    assert "DATABASE_URL is set" not in item.evidence


def test_what_looks_like_a_name_of_the_guide_is_told_and_fails_nothing() -> None:
    item = environment_item(FLEET | {"DB_MAX_CONNECTION": "7"})
    assert item.outcome is Outcome.PASSED
    assert item.evidence[-1] == (
        "DB_MAX_CONNECTION is not ours, but looks like DB_MAX_CONNECTIONS, which is not set"
    )
