"""A local fleet before and after a drill: its tables, and everything whole again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from pgfleet.drill.clients import HOT_TABLE, LISTS, REGISTERS, TABLE
from pgfleet.errors import LocalFleetError
from pgfleet.local import LocalFleet, LocalStatus, ServerState

READY_TIMEOUT_S = 20.0
FOLLOW_TIMEOUT_S = 5.0
"""A standby that was killed first replays what it has."""
PAUSE_S = 0.02
DELAY, UPSTREAM = "max_standby_streaming_delay", "primary_conninfo"

CREATE = f"""
    drop table if exists {TABLE}, {HOT_TABLE};
    create table {TABLE} (n bigint primary key);
    create table {HOT_TABLE} as select n as x from generate_series(1, 200) n;
    grant all on {TABLE}, {HOT_TABLE} to public;
"""  # noqa: S608 (constants)
DROP = f"drop table if exists {TABLE}, {HOT_TABLE}, {REGISTERS}, {LISTS}"
COUNT = f"select count(*) from {TABLE}, {HOT_TABLE}"  # noqa: S608 (constants)


def prepare(fleet: LocalFleet, create: str = CREATE, count: str = COUNT) -> None:
    """Make the tables anew, and wait until every node has them: then `count` gives 0. Raises LocalFleetError."""
    fleet.sql(fleet.primary, create)
    deadline_s = monotonic() + READY_TIMEOUT_S
    for name in fleet.names:
        while not _has_them(fleet, name, count):
            if monotonic() > deadline_s:
                raise LocalFleetError(
                    f"{name} did not get the tables", "pgfleet local status shows whether it lags"
                )
            sleep(PAUSE_S)


def _has_them(fleet: LocalFleet, name: str, count: str) -> bool:
    """Empty as they were made: a replica may still have those of the drill before."""
    with suppress(LocalFleetError):
        return fleet.sql(name, count) == [("0",)]
    return False


def numbers(fleet: LocalFleet) -> frozenset[int]:
    """What has been written and is there."""
    rows = fleet.sql(fleet.primary, f"select n from {TABLE}")  # noqa: S608 (a constant)
    return frozenset(int(number) for (number,) in rows)


def mend(fleet: LocalFleet) -> None:
    """Let every node run, replay at once, and follow the present primary."""
    for status in fleet.status():
        if status.state is ServerState.FROZEN:
            fleet.thaw(status.name)
    primary = fleet.primary
    fleet.start(primary)
    for status in fleet.status():
        if status.name != primary:
            _mend_replica(fleet, status.name, primary)


def cut_off(directory: Path, name: str) -> None:
    """Let a replica receive nothing any more; it goes on with what it has."""
    fleet = LocalFleet.attach(directory)
    fleet.sql(name, f"alter system set {UPSTREAM} = ''")
    fleet.sql(name, "select pg_reload_conf()")


def undo_cut(directory: Path, name: str) -> None:
    """Let it receive again. To be done before a promotion too: who is rewound takes over the file that says it."""
    fleet = LocalFleet.attach(directory)
    fleet.sql(name, f"alter system reset {UPSTREAM}")
    fleet.sql(name, "select pg_reload_conf()")


def mend_one(directory: Path, name: str) -> None:
    """Let one node run, replay at once, and follow the present primary, whatever was done to it."""
    fleet = LocalFleet.attach(directory)
    with suppress(LocalFleetError):
        fleet.thaw(name)
    _mend_replica(fleet, name, fleet.primary)


def _mend_replica(fleet: LocalFleet, name: str, primary: str) -> None:
    fleet.start(name)
    if _status(fleet, name).upstream != primary:
        fleet.rejoin(name)
    fleet.lag(name, 0.0)
    for setting in (DELAY, UPSTREAM):
        fleet.sql(name, f"alter system reset {setting}")
    fleet.sql(name, "select pg_reload_conf()")
    if not _follows_soon(fleet, name, primary):
        fleet.rejoin(name)


def _follows_soon(fleet: LocalFleet, name: str, primary: str) -> bool:
    """Whether it gets what its primary has by now.

    Never, where it is past the point at which that one, promoted a second time, left their common history. Whether it
    streams tells nothing: for a moment it does at each attempt.
    """
    wanted_lsn = _status(fleet, primary).flush_lsn or 0
    deadline_s = monotonic() + FOLLOW_TIMEOUT_S
    while monotonic() < deadline_s:
        status = _status(fleet, name)
        if status.lag_bytes is not None and (status.replay_lsn or 0) >= wanted_lsn:
            return True
        sleep(PAUSE_S)
    return False


def _status(fleet: LocalFleet, name: str) -> LocalStatus:
    return next(status for status in fleet.status() if status.name == name)


def tidy(fleet: LocalFleet) -> None:
    """Take the tables away."""
    with suppress(LocalFleetError):
        fleet.sql(fleet.primary, DROP)


def let_conflict(directory: Path, wanted: bool) -> int:
    """Let replay cancel at once whoever is in its way, or no more; how many it has cancelled on the replicas so far."""
    fleet = LocalFleet.attach(directory)
    change = f"alter system set {DELAY} = 0" if wanted else f"alter system reset {DELAY}"
    cancelled = 0
    for name in fleet.names:
        if name != fleet.primary:
            fleet.sql(name, change)
            fleet.sql(name, "select pg_reload_conf()")
            cancelled += int(fleet.sql(name, "select sum(conflicts) from pg_stat_database")[0][0] or 0)
    return cancelled
