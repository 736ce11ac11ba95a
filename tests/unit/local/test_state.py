"""What a fleet remembers, and what it makes of a file that is not its own."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pgfleet.errors import LocalFleetError
from pgfleet.local.state import FleetState, NodeState

STATE = FleetState(
    pg_bin="/usr/lib/postgresql/15/bin",
    postgresql="15.18",
    uid=os.geteuid(),
    gid=os.getegid(),
    password="the superuser's",
    plain_password="the plain role's",
    settings={"work_mem": "7MB", "jit": False},
    nodes=(
        NodeState("primary", 10_001, "primary"),
        NodeState("replica-1", 10_002, "primary", apply_delay_s=1.5),
    ),
    is_built=True,
)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    STATE.save(tmp_path / "state.json")
    assert FleetState.load(tmp_path / "state.json") == STATE


def test_only_its_owner_reads_the_file_whatever_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("open to all")
    (tmp_path / "state.json").chmod(0o644)
    STATE.save(tmp_path / "state.json")
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_the_repr_holds_no_password() -> None:
    assert "the superuser's" not in repr(STATE)
    assert "the plain role's" not in repr(STATE)


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"nodes": None}, {"nodes": [{"name": "primary"}]}, {"colour": "blue"}],
    ids=["newer", "no nodes", "half a node", "unknown key"],
)
def test_a_file_that_this_version_cannot_read_is_told_with_the_way_out(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    STATE.save(tmp_path / "state.json")
    values = json.loads((tmp_path / "state.json").read_text()) | change
    (tmp_path / "state.json").write_text(json.dumps(values))
    with pytest.raises(LocalFleetError, match="not a fleet's state") as caught:
        FleetState.load(tmp_path / "state.json")
    assert caught.value.hint == "pgfleet local down, then up"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "17"])
def test_what_is_no_object_is_no_state(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(LocalFleetError, match="not a fleet's state"):
        FleetState.load(tmp_path / "state.json")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_root_acts_as_the_owner_of_an_ordinary_users_file(tmp_path: Path) -> None:
    STATE.save(tmp_path / "state.json")
    os.chown(tmp_path / "state.json", 12_345, 23_456)
    account = FleetState.load(tmp_path / "state.json").account
    assert (account.uid, account.gid) == (12_345, 23_456)


def test_a_change_touches_one_node() -> None:
    changed = STATE.changed("replica-1", upstream="replica-2")
    assert changed.node("replica-1") == NodeState("replica-1", 10_002, "replica-2", apply_delay_s=1.5)
    assert changed.node("primary") is STATE.node("primary")
    assert changed.changed("replica-1", apply_delay_s=0.0).node("replica-1").apply_delay_s == 0.0


def test_an_unknown_node_is_told_with_those_that_are() -> None:
    with pytest.raises(LocalFleetError, match="no node 'replica-7'") as caught:
        STATE.node("replica-7")
    assert caught.value.hint == "it has primary, replica-1"
