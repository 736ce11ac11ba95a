"""Where a fleet's files lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgfleet.errors import LocalFleetError
from pgfleet.local import layout as layouts
from pgfleet.local.account import Account
from pgfleet.local.build import is_standby, timeline
from pgfleet.local.layout import Layout, state_root
from pgfleet.local.server import LocalNode


class Anywhere(Account):
    """Enters every directory, and asks nobody."""

    def can_enter(self, directory: Path) -> bool:
        return True


class Nowhere(Account):
    """Enters none."""

    def can_enter(self, directory: Path) -> bool:
        return False


def test_the_default_is_below_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "not made yet"))
    assert Layout.at(None, Anywhere(1, 1)).directory == tmp_path / "not made yet/pgfleet/local"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_root(Anywhere(1, 1)) == tmp_path / ".local/state/pgfleet"


def test_a_state_directory_that_the_servers_cannot_reach_is_not_used() -> None:
    assert state_root(Nowhere(1, 1)) == layouts.ROOTS_STATE / "pgfleet"


def test_two_fleets_are_told_apart_by_their_directories() -> None:
    assert Layout(Path("/a")).identity != Layout(Path("/b")).identity
    assert Layout(Path("/a")).identity == Layout(Path("/a")).identity


def test_a_directory_out_of_the_servers_reach_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalFleetError, match="cannot reach"):
        Layout(tmp_path / "fleet").prepare(Nowhere(1, 1))


def test_clearing_leaves_what_is_not_the_fleets(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.node("primary").mkdir(parents=True)
    for path in (layout.state, layout.lock, layout.hba, layout.passfile, tmp_path / "mine"):
        path.touch()
    layout.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_role_and_timeline_are_read_from_the_data_directory(tmp_path: Path) -> None:
    node = LocalNode("replica-1", 10_001, tmp_path, slot="replica_1", application_name="replica-1")
    wal = node.data_directory / "pg_wal"
    wal.mkdir(parents=True)
    assert (timeline(node), is_standby(node)) == (0, False)
    for name in (
        "000000010000000000000003",
        "0000000A.history",
        "archive_status",
        "00000009000000000000000C.partial",
    ):
        (wal / name).touch()
    assert (timeline(node), is_standby(node)) == (10, False)
    (node.data_directory / "standby.signal").touch()
    assert (timeline(node), is_standby(node)) == (1, True)
