"""The tables of registers and lists: how they are made, read and written, and what a server has of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from pgfleet.drill.clients import LISTS, REGISTERS
from pgfleet.drill.consistency.history import State, state_of
from pgfleet.drill.consistency.keys import is_list
from pgfleet.errors import LocalFleetError
from pgfleet.local import LocalFleet

SETTINGS = {"wal_keep_size": "512MB"}
"""Of a fleet of its own: who is promoted has what the others need to follow it, and no copy must be made."""
LOOK_PAUSE_S = 0.02
STILL_S = 0.2
"""So long nothing may have arrived and nothing been replayed: then what was on the way is there."""
STUCK_S = 1.0
"""The same, where the last record arrived in part and will never be whole."""
ARRIVAL_TIMEOUT_S = 20.0

ASYNCHRONOUS = "from (select set_config('synchronous_commit', 'off', true)) _"
"""The transaction of this one statement does not wait for its flush: it costs no round trip."""


@dataclass(frozen=True, slots=True)
class Statements:
    """With the placeholders of one driver."""

    read_register: str
    read_list: str
    write: str
    append: str
    write_asynchronously: str
    append_asynchronously: str


def statements(driver: str) -> Statements:
    """Each takes its key last, and tells the port of the server first."""
    one, two = ("$1", "$2") if driver == "asyncpg" else ("%s", "%s")
    write = f"update {REGISTERS} set version = greatest(version, {one}) {{}} where org = {two}"  # noqa: S608
    append = f"insert into {LISTS} (n, list) select {one}::bigint, {two}::bigint {{}}"
    port = " returning inet_server_port()"
    return Statements(
        f"select inet_server_port(), version from {REGISTERS} where org = {one}",  # noqa: S608
        f"select inet_server_port(), array(select n from {LISTS} where list = {one})",  # noqa: S608
        write.format("") + port,
        append.format("") + port,
        write.format(ASYNCHRONOUS) + port,
        append.format(ASYNCHRONOUS) + port,
    )


def create(orgs: int) -> str:
    """Make them anew, with a register for each org."""
    return f"""
        drop table if exists {REGISTERS}, {LISTS};
        create table {REGISTERS} (org bigint primary key, version bigint not null) with (fillfactor = 20);
        create table {LISTS} (list bigint, n bigint, primary key (list, n));
        insert into {REGISTERS} select org, 0 from generate_series(1, {orgs}) org;
        grant all on {REGISTERS}, {LISTS} to public;
    """  # noqa: S608 (constants)


def count(orgs: int) -> str:
    """0 where they are as they were made."""
    return f"""
        select (select count(*) from {LISTS}) + abs({orgs} - (select count(*) from {REGISTERS} where version = 0))
    """  # noqa: S608 (constants)


CONTENTS = f"""
    select org, version, '' from {REGISTERS}
    union all
    select list, max(n), case when count(*) < max(n) then string_agg(n::text, ',') else '' end
      from {LISTS} group by list
"""  # noqa: S608 (constants)
POSITIONS = "select pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn()"


# what is done in the second process


def contents(directory: Path, name: str) -> dict[int, State]:
    """All that a server has, by key."""
    rows = LocalFleet.attach(directory).sql(name, CONTENTS)
    return {int(key): _state(int(key), int(highest), elements) for key, highest, elements in rows}


def _state(key: int, highest: int, elements: str) -> State:
    if elements and is_list(key):
        return state_of([int(number) for number in elements.split(",")])
    return State(highest)


def arrived(directory: Path, name: str) -> tuple[str, dict[int, State]]:
    """What a standby has once all that was on its way is replayed, and up to where it has replayed.

    Its primary must have stopped. Raises LocalFleetError.
    """
    fleet = LocalFleet.attach(directory)
    position = _settled(fleet, name)
    held = contents(directory, name)
    if replayed(directory, name) != position:
        raise LocalFleetError(f"{name} replays although its primary has stopped", "report this")
    return position, held


def replayed(directory: Path, name: str) -> str:
    """Up to where a node has replayed. After its promotion that is where its timeline begins."""
    return LocalFleet.attach(directory).sql(name, POSITIONS)[0][0]


def switch_wal(directory: Path, name: str) -> None:
    """Begin a new WAL file: then the insert position stands behind a header that no standby reaches."""
    LocalFleet.attach(directory).sql(name, "select pg_switch_wal()")


def _settled(fleet: LocalFleet, name: str) -> str:
    deadline_s = monotonic() + ARRIVAL_TIMEOUT_S
    positions, since_s = fleet.sql(name, POSITIONS)[0], monotonic()
    while monotonic() - since_s < (STILL_S if positions[0] == positions[1] else STUCK_S):
        sleep(LOOK_PAUSE_S)
        if (now := fleet.sql(name, POSITIONS)[0]) != positions:
            positions, since_s = now, monotonic()
        if since_s > deadline_s:
            raise LocalFleetError(f"{name} does not come to an end", "is its primary still there?")
    return positions[0]
