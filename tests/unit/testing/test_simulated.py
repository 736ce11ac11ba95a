from __future__ import annotations

import pytest

from pgfleet.testing.simulated.cluster import Cluster
from pgfleet.testing.simulated.errors import SimulatedError
from pgfleet.testing.simulated.session import Session
from pgfleet.testing.simulated.wal import BLOCK_BYTES, SEGMENT_BYTES, Kind, Record, insert_position
from pgfleet.testing.virtual import pass_time
from tests.fakes import in_virtual_time


def cluster() -> Cluster:
    made = Cluster(["primary", "replica-1", "replica-2"], seed=1)
    for server in made.servers.values():
        server.synchronous_share = 1.0
    return made


def session(to: Cluster, name: str) -> Session:
    return to.session("client", to.servers[name], read_only=False)


@in_virtual_time
async def test_a_commit_reaches_the_standbys() -> None:
    made = cluster()
    await session(made, "primary").fetch("insert", "a")
    await pass_time(0.1)
    ((seen,),) = await session(made, "replica-1").fetch("select")
    assert seen.log.key == ("a",)
    assert seen.log is made.servers["primary"].tip


@in_virtual_time
async def test_a_standby_takes_no_writes() -> None:
    with pytest.raises(SimulatedError, match="25006"):
        await session(cluster(), "replica-1").fetch("insert", "a")


@in_virtual_time
async def test_a_crashed_standby_comes_back_behind_and_a_primary_without_what_was_not_flushed() -> None:
    made = cluster()
    primary, replica = made.servers["primary"], made.servers["replica-1"]
    await pass_time(2.5)
    await session(made, "primary").fetch("insert", "kept")
    await pass_time(0.1)
    stood = replica.replayed
    made.restart("replica-1")
    assert replica.replayed.depth < stood.depth
    primary.synchronous_share = 0.0
    await session(made, "primary").fetch("insert", "lost")
    lost = primary.tip
    made.restart("primary")
    assert not lost.is_in(primary.tip)
    assert stood.is_in(primary.tip)


@in_virtual_time
async def test_a_standby_past_the_fork_is_turned_away() -> None:
    made = cluster()
    made.servers["replica-1"].upstream_cut = True
    await session(made, "primary").fetch("insert", "a")
    await pass_time(0.1)
    made.promote("replica-1")
    made.follow("replica-2", "replica-1")
    await pass_time(1.0)
    assert not made.servers["replica-2"].is_fed()
    assert made.standbys_of(made.servers["replica-1"]) == []
    made.rejoin("replica-2", "replica-1")
    assert made.servers["replica-2"].is_fed()
    assert made.servers["replica-2"].timeline == 2


@in_virtual_time
async def test_what_cannot_pass_comes_later() -> None:
    made = cluster()
    asking = session(made, "primary")
    asking.link.answers.is_open = False
    made._loop.call_later(5.0, asking.link.heal)
    assert await asking.fetch("insert", "a") == "DONE"
    assert made.now_s >= 1005.0
    assert made.servers["primary"].tip.visible_s < 1001.0


def test_no_record_ends_in_a_header() -> None:
    record = Record.first(0.0)
    for size in range(40, 1000):
        record = record.append(Kind.COMMIT, 1, 0.0, size)
        assert record.end % BLOCK_BYTES > 40
    switched = record.append(Kind.SWITCH, 1, 0.0, 0)
    assert switched.end % SEGMENT_BYTES == 0
    assert insert_position(switched.end) == switched.end + 40
