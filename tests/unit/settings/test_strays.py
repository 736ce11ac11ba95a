"""Names that were meant for pgfleet, and that nothing reads."""

from __future__ import annotations

import logging

import pytest

from pgfleet.settings import Settings
from pgfleet.settings.strays import lookalikes, strays
from pgfleet.settings.variables import VARIABLES

URL = "postgresql://app:pw@primary:5432/hotel"


def test_a_misspelt_name_is_told_with_the_nearest() -> None:
    assert strays(["PGFLEET_MAX_LAGS", "PGFLEET_API_TOKENS_FILE"]) == {
        "PGFLEET_API_TOKENS_FILE": "PGFLEET_API_TOKEN_FILE",
        "PGFLEET_MAX_LAGS": "PGFLEET_MAX_LAG_S",
    }


def test_a_name_like_none_of_ours_is_told_alone() -> None:
    assert strays(["PGFLEET_COLOUR_OF_THE_DASHBOARD"]) == {"PGFLEET_COLOUR_OF_THE_DASHBOARD": None}


def test_our_own_names_are_no_strays() -> None:
    names = [name.replace("<n>", "1") for name in VARIABLES]
    assert strays([*names, *(f"{name}_FILE" for name in names), "PGFLEET_PG_BIN", "HOME"]) == {}


@pytest.mark.parametrize(
    "name",
    ["PGFLEET_SERVICE_HOST", "PGFLEET_PORT", "PGFLEET_PORT_4000_TCP_ADDR", "PGFLEET_API_SERVICE_PORT_HTTP"],
)
def test_what_kubernetes_sets_is_nobody_s_mistake(name: str) -> None:
    assert strays([name]) == {}


def test_a_name_of_the_guide_that_is_nearly_right_is_noticed() -> None:
    assert lookalikes(["USE_READ_REPLICA", "DB_HOST", "DB_NAME", "DATABASE_USER"]) == {
        "USE_READ_REPLICA": "USE_READ_REPLICAS"
    }


def test_nobody_misses_a_name_that_is_there() -> None:
    assert lookalikes(["DATABASE_URI", "DATABASE_URL"]) == {}
    assert lookalikes(["DATABASE_URI", "DATABASE_URL_FILE"]) == {}


def test_settings_warn_of_it_and_go_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pgfleet.settings"):
        settings = Settings.from_env({"DATABASE_URL": URL, "PGFLEET_MAX_LAGS": "s3cret", "PGFLEET_X": "1"})
    assert settings.max_lag_s == 10.0
    (record,) = caplog.records
    assert record.getMessage() == (
        "Nothing reads these variables: PGFLEET_MAX_LAGS (did you mean PGFLEET_MAX_LAG_S?), PGFLEET_X"
    )


def test_without_strays_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pgfleet.settings"):
        Settings.from_env({"DATABASE_URL": URL})
    assert caplog.records == []
