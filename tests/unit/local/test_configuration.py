"""The files that configure a server, as text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pgfleet.errors import LocalFleetError
from pgfleet.local.configuration import check_settings, conninfo, hba_conf, server_conf, slot_name
from pgfleet.local.layout import Layout
from pgfleet.local.state import FleetState, NodeState

LAYOUT = Layout(Path("/srv/o'brien\\fleet"))
STATE = FleetState(
    pg_bin="/bin",
    postgresql="18.6",
    uid=1,
    gid=1,
    password="sesame",
    plain_password="sesame too",
    settings={},
    nodes=(
        NodeState("primary", 10_001, "primary"),
        NodeState("replica-1", 10_002, "primary", apply_delay_s=1.5),
    ),
)


def lines(state: FleetState, name: str = "replica-1") -> dict[str, str]:
    text = server_conf(LAYOUT, state, state.node(name))
    return dict(line.split(" = ", 1) for line in text.splitlines())


def test_a_standby_follows_its_upstream_under_its_own_names() -> None:
    found = lines(STATE)
    assert "port=10001" in found["primary_conninfo"]
    assert "application_name=replica-1" in found["primary_conninfo"]
    assert found["primary_slot_name"] == "'replica_1'"
    assert found["recovery_min_apply_delay"] == "'1500ms'"
    assert found["port"] == "'10002'"
    assert found["listen_addresses"] == "'127.0.0.1'"


def test_the_callers_settings_come_before_our_defaults() -> None:
    found = lines(replace(STATE, settings={"shared_buffers": "1MB", "jit": False, "max_connections": 7}))
    assert (found["shared_buffers"], found["jit"], found["max_connections"]) == ("'1MB'", "'off'", "'7'")


def test_quotes_and_backslashes_survive() -> None:
    found = lines(replace(STATE, settings={"log_line_prefix": "it's \\ "}))
    assert found["log_line_prefix"] == "'it''s \\\\ '"
    assert r"passfile='/srv/o\'brien\\fleet/pgpass'" in conninfo(LAYOUT, 10_001, "replica-1")


def test_no_configuration_holds_a_password() -> None:
    assert "sesame" not in server_conf(LAYOUT, STATE, STATE.node("replica-1")) + hba_conf()


def test_nobody_is_trusted() -> None:
    assert {line.split()[-1] for line in hba_conf().splitlines()} == {"scram-sha-256"}


@pytest.mark.parametrize("name", ["port", "Hot_Standby", "primary_conninfo", "hba_file"])
def test_what_the_fleet_decides_is_not_for_callers_to_set(name: str) -> None:
    with pytest.raises(LocalFleetError, match=f"sets {name.lower()} itself"):
        check_settings({name: "x", "work_mem": "1MB"})


def test_a_slot_is_named_as_postgresql_allows() -> None:
    assert slot_name("replica-12") == "replica_12"
