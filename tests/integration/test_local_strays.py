"""Nodes that lost their way in more than one failover come back, and keep nothing that was lost."""

from __future__ import annotations

from functools import partial

from pgfleet.drill import fleets
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually


def insert(fleet: LocalFleet, *numbers: int) -> None:
    fleet.sql(fleet.primary, f"insert into strays select unnest(array{list(numbers)})")


def await_numbers(fleet: LocalFleet, name: str, *numbers: int) -> None:
    wanted = [(str(number),) for number in numbers]
    eventually(lambda: fleet.sql(name, "select number from strays order by 1") == wanted)


def create(fleet: LocalFleet) -> None:
    fleet.sql("primary", "create table strays (number int)")
    for name in fleet.names:
        eventually(partial(has_them, fleet, name))


def has_them(fleet: LocalFleet, name: str) -> bool:
    return fleet.sql(name, "select to_regclass('strays')") == [("strays",)]


def test_a_drill_mends_a_standby_that_strayed_before_its_primary_came_back() -> None:
    """It follows the right node by name, and can never stream from it again: it has what that one has lost."""
    with LocalFleet.temporary(2) as fleet:
        create(fleet)
        fleets.cut_off(fleet.directory, "replica-1")
        eventually(lambda: not fleet.status()[1].is_streaming)
        insert(fleet, 1)
        await_numbers(fleet, "replica-2", 1)
        fleet.kill("primary")
        fleets.undo_cut(fleet.directory, "replica-1")
        fleet.promote("replica-1")
        fleet.start("primary")
        fleet.sql("primary", "insert into strays select generate_series(1000, 2000)")
        await_numbers(fleet, "replica-2", 1, *range(1000, 2001))
        fleet.rejoin("primary")
        fleet.kill("replica-1")
        fleet.promote("primary")
        assert fleet.status()[2].upstream == fleet.primary == "primary"
        insert(fleet, 2)

        fleets.mend(fleet)

        for name in fleet.names:
            await_numbers(fleet, name, 2)


def test_nodes_on_another_timeline_of_the_same_number_take_new_copies() -> None:
    """One is the origin of that timeline, the other follows it."""
    with LocalFleet.temporary() as fleet:
        create(fleet)
        fleet.kill("primary")
        fleet.promote("replica-2")
        fleet.rejoin("replica-3")
        fleet.sql("replica-2", "insert into strays select generate_series(1000, 2000)")
        await_numbers(fleet, "replica-3", *range(1000, 2001))
        fleet.promote("replica-1")
        assert fleet.primary == "replica-1"
        assert {status.timeline for status in fleet.status()[1:]} == {2}
        insert(fleet, 1)

        for name in ("replica-3", "replica-2"):
            fleet.rejoin(name)
            await_numbers(fleet, name, 1)
