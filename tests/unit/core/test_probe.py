from __future__ import annotations

import re

import pytest

from pgfleet.core.lsn import Lsn
from pgfleet.core.node import Role
from pgfleet.core.probe import OBSERVE_SQL, read_observation

ID = str((1 << 63) - 1)
PRIMARY = (
    False, ID, "1763890000000000", 180006, None, "0000001A", "16/B374D848", "16/B374D800", None, None, False,
    0.2, 8192, 16 << 20, "7:9:7", "16/B3000028", ["replica_1", "replica_1", "pg_basebackup"], False,
)  # fmt: skip
REPLICA = (
    True, ID, "1763890000000001", 150018, 26, None, None, None, "16/B374D848", "16/B374D900", True,
    10.0, 8192, 16 << 20, "8:8:", "16/B3000028", None, False,
)  # fmt: skip


def test_a_primary_is_read() -> None:
    seen = read_observation(PRIMARY, 1.0, 1.5)
    assert (seen.asked_s, seen.answered_s) == (1.0, 1.5)
    assert (seen.role, seen.timeline, seen.system_id) == (Role.PRIMARY, 26, int(ID))
    assert (seen.insert_lsn, seen.flush_lsn) == (Lsn(0x16_B374D848), Lsn(0x16_B374D800))
    assert seen.replay_lsn is None
    assert seen.standbys == {"replica_1", "pg_basebackup"}
    assert (seen.xmin, seen.xmax, seen.finished) == (7, 9, "7:9:7@16/B3000028")


def test_a_replica_is_read() -> None:
    seen = read_observation(REPLICA, 1.0, 1.5)
    assert (seen.role, seen.timeline, seen.replay_paused) == (Role.REPLICA, 26, True)
    assert (seen.replay_lsn, seen.receive_lsn) == (Lsn(0x16_B374D848), Lsn(0x16_B374D900))
    assert (seen.insert_lsn, seen.flush_lsn, seen.standbys) == (None, None, frozenset())
    assert seen.wal_writer_delay_s == 10.0


def test_a_standby_that_has_replayed_nothing_and_tells_no_timeline_is_read() -> None:
    seen = read_observation((*REPLICA[:4], None, None, None, None, None, None, *REPLICA[10:]), 1.0, 1.5)
    assert (seen.timeline, seen.replay_lsn) == (None, None)


@pytest.mark.parametrize("in_recovery", [False, True])
def test_aurora_tells_no_position(in_recovery: bool) -> None:
    nothing = (None,) * 6
    row = (
        in_recovery,
        "0",
        "1763890000000001",
        150004,
        *nothing,
        False,
        0.2,
        8192,
        1 << 30,
        "0:0:",
        None,
        None,
        True,
    )
    seen = read_observation(row, 1.0, 1.5)
    assert seen.is_aurora
    assert seen.role is (Role.REPLICA if in_recovery else Role.PRIMARY)
    assert (seen.timeline, seen.insert_lsn, seen.replay_lsn, seen.aurora_lag_s) == (None,) * 4


@pytest.mark.parametrize("row", [(), PRIMARY[:-1], (*PRIMARY, 1)])
def test_another_row_is_refused(row: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="unpack"):
        read_observation(row, 1.0, 1.5)


def test_the_question_names_its_functions_in_full() -> None:
    """A search_path of the role must not put another function in their place."""
    assert not re.findall(r"(?<!pg_catalog\.)\bpg_\w+(?=\()|from (pg_\w+)(?!\.)\b", OBSERVE_SQL)
