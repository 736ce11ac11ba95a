"""What is a finding and what is none, where a figure decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgfleet.core.diagnosis.catalogue import CATALOGUE
from pgfleet.core.diagnosis.diagnose import diagnose
from pgfleet.core.diagnosis.finding import Severity
from pgfleet.core.diagnosis.obstacle import Obstacle
from pgfleet.core.diagnosis.rows import Disk, Origin, Wal
from pgfleet.core.diagnosis.snapshot import NodeSeen, Snapshot
from pgfleet.core.diagnosis.thresholds import GB
from tests.unit.core.diagnosis.seen import (
    MB,
    POSITIONS,
    RECEIVER,
    SENDER,
    SERVER,
    SLOT,
    USE,
    blocked,
    found,
    ids,
    moved,
    primary,
    sample,
    served,
    settings,
    standby,
)


def test_a_fleet_that_is_well_has_no_finding() -> None:
    assert ids(primary(), standby()) == []


def test_a_primary_alone_is_well() -> None:
    assert ids(primary(slots=())) == []


@pytest.mark.parametrize("obstacle", Obstacle)
def test_every_obstacle_has_its_steps(obstacle: Obstacle) -> None:
    (finding, *_) = found(primary(), blocked(standby(), obstacle))
    assert (finding.id, finding.node, finding.severity) == (obstacle, "replica-1", Severity.CRITICAL)
    assert "said" in finding.evidence
    assert finding.fix


def test_a_node_that_is_drained_is_less_urgent() -> None:
    assert found(primary(), replace(blocked(standby()), draining=True))[0].severity is Severity.WARNING


def lagging(last_replayed_s: float | None, replayed: int = 4000) -> NodeSeen:
    return moved(standby(), replayed=replayed, received=5000, last_replayed_s=last_replayed_s)


@pytest.mark.parametrize(
    ("committed_ago_s", "severity"), [(4.0, None), (6.0, Severity.WARNING), (11.0, Severity.CRITICAL)]
)
def test_lag_is_judged_by_the_age_of_the_last_commit(
    committed_ago_s: float, severity: Severity | None
) -> None:
    seen = found(primary(), lagging(1001.0 - committed_ago_s))
    assert [finding.severity for finding in seen if finding.id == "replica-lags"] == (
        [severity] if severity else []
    )


def test_an_old_commit_is_no_lag_when_all_is_replayed() -> None:
    assert ids(primary(), moved(standby(), last_replayed_s=1.0)) == []


def test_what_was_written_between_the_looks_is_no_lag() -> None:
    assert ids(moved(primary(), flushed=9000), moved(standby(), last_replayed_s=1.0)) == []


def test_the_header_of_a_page_is_replayed_by_nobody() -> None:
    """As after a WAL switch: the primary stands behind it until something is written there."""
    behind = moved(standby(), replayed=16 * MB, received=16 * MB, last_replayed_s=1.0)
    sizes = settings(wal_segment_size=16 * MB, wal_block_size=8192)
    switched = replace(
        sample(POSITIONS, senders=(SENDER,)),
        positions=replace(POSITIONS, flushed=16 * MB + 40, clock_s=1000.01),
    )
    later = replace(switched, asked_s=1001.0, answered_s=1001.02)
    assert ids(primary(first=switched, last=later, settings=sizes, slots=()), behind) == []


def test_one_look_alone_is_no_lag() -> None:
    """What was on its way when both were asked is not what waits."""
    once = sample(standby().facts.last.positions, receiver=RECEIVER)  # type: ignore[union-attr]
    once = replace(once, positions=replace(once.positions, replayed=4000, last_replayed_s=None))
    assert ids(primary(), standby(first=once, last=once)) == []


def test_a_standby_that_never_replayed_a_commit_and_stands_still_lags() -> None:
    still = lagging(None)
    assert still.facts
    before = replace(still.facts.first.positions, replayed=4000)
    still = replace(still, facts=replace(still.facts, first=replace(still.facts.first, positions=before)))
    (finding,) = found(primary(), still)
    assert (finding.id, finding.severity) == ("replica-lags", Severity.WARNING)
    assert finding.figures["catchUpSeconds"] is None


def test_the_primary_s_clock_stamped_the_commit() -> None:
    """It is an hour behind ours: the last commit is a second old all the same."""
    behind = primary()
    assert behind.facts
    first = replace(
        behind.facts.first, positions=replace(behind.facts.first.positions, clock_s=1000.01 - 3600)
    )
    behind = replace(behind, facts=replace(behind.facts, first=first))
    assert "replica-lags" not in ids(behind, lagging(1000.0 - 3600))


@pytest.mark.parametrize(
    ("sent", "written", "flushed", "where"),
    [(4100, 4000, 4000, "sender"), (5000, 4000, 4000, "network"), (5000, 5000, 4000, "flush")],
)
def test_lag_arises_where_most_of_it_waits(sent: int, written: int, flushed: int, where: str) -> None:
    sender = replace(SENDER, sent=sent, written=written, flushed=flushed, replayed=4000)
    seen = found(_sending(sender), moved(lagging(980.0), received=flushed))
    assert seen[0].figures["where"] == where


def test_lag_arises_at_replay_when_all_was_received_and_tells_when_it_ends() -> None:
    behind = moved(lagging(980.0, replayed=4500))
    assert behind.facts
    before = replace(behind.facts.first.positions, replayed=4000)
    behind = replace(behind, facts=replace(behind.facts, first=replace(behind.facts.first, positions=before)))
    figures = found(_sending(replace(SENDER, replayed=4500)), behind)[0].figures
    assert figures["where"] == "replay"
    assert figures["catchUpSeconds"] == 1.0  # 500 bytes behind, 500 a second more than is written


def _sending(*senders: object) -> NodeSeen:
    node = primary()
    assert node.facts
    return replace(node, facts=replace(node.facts, last=replace(node.facts.last, senders=senders)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"wal_status": "lost"}, "slot-lost"),
        ({"wal_status": "unreserved"}, "slot-unreserved"),
        ({"active": False}, "slot-inactive"),
        ({"restart": 5000 - 600 * MB}, "slot-retains-wal"),
        ({"active": False, "restart": None}, None),
        ({"active": False, "synced": True}, None),
    ],
)
def test_a_slot_s_trouble(changes: dict[str, object], told: str | None) -> None:
    slot = replace(SLOT, **changes)  # type: ignore[arg-type]
    seen = ids(primary(slots=(slot,)), standby())
    assert [name for name in seen if name.startswith("slot")] == ([told] if told else [])


def test_without_a_bound_a_slot_may_keep_a_gigabyte() -> None:
    less, more = replace(SLOT, restart=5000 - GB), replace(SLOT, restart=4999 - GB)
    unbounded = settings(max_slot_wal_keep_size=-1)
    assert "slot-retains-wal" not in ids(primary(slots=(less,), settings=unbounded), standby())
    assert "slot-retains-wal" in ids(primary(slots=(more,), settings=unbounded), standby())


def test_postgresql_12_has_no_bound_and_is_told_only_when_a_slot_is_idle() -> None:
    old = {name: value for name, value in settings().items() if name != "max_slot_wal_keep_size"}
    assert "slot-unbounded" not in ids(primary(settings=old), standby())
    assert "slot-unbounded" in ids(primary(settings=old, slots=(replace(SLOT, active=False),)), standby())


def test_a_minor_version_is_a_notice_and_a_major_one_is_not() -> None:
    minor = [f for f in found(primary(), served(standby(), version=180005)) if f.id == "version-skew"]
    major = [f for f in found(primary(), served(standby(), version=170006)) if f.id == "version-skew"]
    assert ([f.severity for f in minor], [f.severity for f in major]) == (
        [Severity.NOTICE],
        [Severity.CRITICAL],
    )
    assert "18.5" in minor[0].evidence
    assert (
        minor[0].fix[0].run == "apt-get install --only-upgrade postgresql-18"
    )  # the package without a number is empty


@pytest.mark.parametrize(
    ("connections", "severity"), [(77, None), (78, Severity.WARNING), (88, Severity.CRITICAL)]
)
def test_the_reserved_connections_are_for_nobody(connections: int, severity: Severity | None) -> None:
    seen = found(primary(use=replace(USE, connections=connections)), standby())
    assert [f.severity for f in seen] == ([severity] if severity else [])


def test_pools_are_held_against_the_lowest_limit() -> None:
    assert ids(primary(), standby(), processes=1) == []
    assert ids(primary(), standby(), processes=2) == ["pools-exceed-server", "pools-exceed-server"]
    assert ids(served(primary(), role_limit=50), standby()) == ["pools-exceed-server"]
    assert "the limit of role app" in found(served(primary(), role_limit=50), standby())[0].evidence


@pytest.mark.parametrize(
    ("variable", "fewer", "gone"),
    [
        ("READ_REPLICA_1_CONNECTION_STRING", "export READ_REPLICA_1_MAX_CONNECTIONS=47", "unset"),
        ("PGFLEET_FLEET_FILE replica[0]", '"${EDITOR:-vi}" "$PGFLEET_FLEET_FILE"', "pgfleet replica remove"),
        ("PGFLEET_DISCOVERY replica-1", "alter system set max_connections", "pgfleet doctor --json"),
    ],
    ids=["environment", "fleet file", "discovery"],
)
def test_a_fix_is_where_the_node_was_set(variable: str, fewer: str, gone: str) -> None:
    """Of a node that no variable brought, none can be unset or exported."""
    twin = replace(served(standby(), started_us=1), variable=variable)
    found_of_twin = {f.id: f.fix[0].run for f in found(primary(), twin, processes=2) if f.node == twin.name}
    assert found_of_twin["pools-exceed-server"].startswith(fewer)
    assert found_of_twin["same-server"].startswith(gone)


def test_reserved_connections_of_postgresql_16_count_too() -> None:
    crowded = settings(max_connections=60, reserved_connections=7)
    (finding,) = found(primary(settings=crowded), standby())
    assert finding.figures["available"] == 50


@pytest.mark.parametrize(
    ("names", "wanted"),
    [("FIRST 2 (a, b)", 2), ("any 3 (*)", 3), ("2 (a, b)", 2), ("a, b", 1), ("first", 1), ('"2 (x)"', 1)],
)
def test_how_many_standbys_a_commit_waits_for(names: str, wanted: int) -> None:
    waiting = primary(settings=settings(synchronous_standby_names=names))
    (finding, *_) = found(waiting, standby())
    assert (finding.id, finding.figures["wanted"]) == ("sync-standby-missing", wanted)


def test_a_quorum_that_streams_is_enough() -> None:
    node = _sending(replace(SENDER, sync_state="quorum"))
    assert node.facts
    node = replace(node, facts=replace(node.facts, settings=settings(synchronous_standby_names="ANY 1 (*)")))
    assert ids(node, standby()) == []


def test_a_walreceiver_that_is_begun_again_and_again_does_not_receive() -> None:
    flapping = standby()
    assert flapping.facts
    last = replace(flapping.facts.last, receiver=replace(RECEIVER, pid=10, status="starting"))
    flapping = replace(flapping, facts=replace(flapping.facts, last=last))
    assert "walreceiver-down" in ids(primary(), flapping)


def test_a_receiver_that_is_hidden_is_at_work() -> None:
    hidden = replace(
        RECEIVER, status=None, received_timeline=None, slot=None, sender_host=None, application_name=None
    )
    look = sample(standby().facts.last.positions, receiver=hidden)  # type: ignore[union-attr]
    assert ids(primary(), standby(first=look, last=look)) == []


def test_the_timeline_of_a_standby_that_streams_is_its_receiver_s() -> None:
    """Its control file tells the old one until the next checkpoint."""
    streams = sample(standby().facts.last.positions, receiver=replace(RECEIVER, received_timeline=2))  # type: ignore[union-attr]
    late = standby(first=streams, last=streams)
    assert "wrong-timeline" not in ids(served(primary(), timeline=2), late)
    assert "wrong-timeline" in ids(served(primary(), timeline=2), standby())


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"wal_keep_size": 64}, "64.0 MB of log for all"),
        ({"wal_keep_segments": 4}, "64.0 MB of log for all"),
        ({"wal_keep_size": 0}, "no log for it"),
    ],
    ids=["from 13 on", "12", "nothing"],
)
def test_what_is_kept_for_a_standby_without_a_slot(values: dict[str, int], kept: str) -> None:
    sizes = settings(wal_segment_size=16 * MB, **values)
    look = sample(standby().facts.last.positions, receiver=replace(RECEIVER, slot=None))  # type: ignore[union-attr]
    (finding,) = found(primary(settings=sizes), standby(first=look, last=look))
    assert (finding.id, finding.evidence) == (
        "no-slot",
        f"primary_slot_name is empty; primary keeps {kept}",
    )


def test_a_file_that_is_gone_is_one_that_the_standby_needs() -> None:
    down = sample(standby().facts.last.positions)  # type: ignore[union-attr]
    needs = standby(first=down, last=down, origin=Origin("db-0", 5432, None, None))
    sizes = settings(wal_segment_size=16 * MB)
    gone = primary(wal=Wal(1, "000000010000000000000001"), settings=sizes)
    there = primary(wal=Wal(1, "000000010000000000000000"), settings=sizes)
    assert "wal-removed" in ids(gone, needs)
    assert "wal-removed" not in ids(there, needs)


@pytest.mark.parametrize(("free", "severity"), [(16, None), (15, Severity.WARNING), (5, Severity.CRITICAL)])
def test_a_disk(free: int, severity: Severity | None) -> None:
    seen = found(primary(disk=Disk("/data", 100, free)), standby())
    assert [f.severity for f in seen] == ([severity] if severity else [])


def test_fsync_off_is_critical_on_another_host_and_a_notice_on_this_one() -> None:
    off = settings(fsync="off")
    assert found(primary(settings=off), standby())[0].severity is Severity.CRITICAL
    assert found(served(primary(settings=off), on_this_host=True), standby())[0].severity is Severity.NOTICE


def off_by(node: NodeSeen, offset_s: float) -> NodeSeen:
    assert node.facts
    first = replace(
        node.facts.first, positions=replace(node.facts.first.positions, clock_s=1000.01 + offset_s)
    )
    return replace(node, facts=replace(node.facts, first=first))


def test_one_clock_that_is_off_is_that_server_s() -> None:
    (finding,) = found(primary(), off_by(standby(), 30.0))
    assert (finding.id, finding.node) == ("clock-skew", "replica-1")
    assert "30 s ahead of ours" in finding.evidence


def test_clocks_that_agree_with_one_another_are_right_and_ours_is_not() -> None:
    (finding,) = found(off_by(primary(), -30.0), off_by(standby(), -30.0))
    assert finding.evidence.startswith("ours is off")


def test_an_answer_that_took_long_proves_no_skew() -> None:
    slow = off_by(standby(), 1.5)
    assert slow.facts
    slow = replace(
        slow, facts=replace(slow.facts, first=replace(slow.facts.first, asked_s=999.0, answered_s=1001.02))
    )
    assert ids(primary(), slow) == []


def test_names_are_quoted_where_they_are_pasted() -> None:
    slot = replace(SLOT, name="it's", active=False)
    steps = [step.run for f in found(primary(slots=(slot,)), standby()) for step in f.fix]
    assert "select pg_drop_replication_slot('it''s');" in steps


def test_every_rule_s_id_is_in_the_catalogue_with_causes_that_are_too() -> None:
    named = {cause for kind in CATALOGUE.values() for cause in kind.causes}
    assert named <= set(CATALOGUE)
    places = {name: place for place, name in enumerate(CATALOGUE)}
    wrong = [(n, c) for n, kind in CATALOGUE.items() for c in kind.causes if places[c] >= places[n]]
    assert wrong == []


def test_nobody_answers() -> None:
    seen = diagnose(Snapshot((blocked(primary(), Obstacle.REFUSED), blocked(standby(), Obstacle.REFUSED))))
    assert [finding.id for finding in seen] == ["tcp-refused", "no-primary", "tcp-refused"]


def test_a_server_s_version_for_people() -> None:
    assert SERVER.version_text == "18.6"
