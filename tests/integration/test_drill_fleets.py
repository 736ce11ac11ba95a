"""A drill leaves the fleet whole, whatever it did to it."""

from __future__ import annotations

from pgfleet.drill import fleets
from pgfleet.local import LocalFleet
from pgfleet.testing import eventually


def insert(fleet: LocalFleet, number: int) -> None:
    fleet.sql(fleet.primary, f"insert into mended values ({number})")


def await_numbers(fleet: LocalFleet, *numbers: int) -> None:
    """On every node."""
    for name in fleet.names:
        await_on(fleet, name, *numbers)


def await_on(fleet: LocalFleet, name: str, *numbers: int) -> None:
    exists = "select to_regclass('mended') is not null"
    eventually(lambda: fleet.sql(name, exists) == [("t",)])
    wanted = [(str(number),) for number in numbers]
    eventually(lambda: fleet.sql(name, "select number from mended order by 1") == wanted)


def test_a_standby_that_strayed_before_its_primary_came_back_is_mended() -> None:
    """It follows the right node by name, and can never stream from it again: it has what that one has lost."""
    with LocalFleet.temporary(2) as fleet:
        fleet.sql("primary", "create table mended (number int)")
        await_numbers(fleet)
        fleets.cut_off(fleet.directory, "replica-1")
        eventually(lambda: not fleet.status()[1].is_streaming)
        insert(fleet, 1)
        await_on(fleet, "replica-2", 1)
        fleet.kill("primary")
        fleets.undo_cut(fleet.directory, "replica-1")
        fleet.promote("replica-1")
        fleet.start("primary")
        fleet.rejoin("primary")
        fleet.kill("replica-1")
        fleet.promote("primary")
        assert fleet.status()[2].upstream == fleet.primary == "primary"
        insert(fleet, 2)

        fleets.mend(fleet)

        await_numbers(fleet, 2)
        assert [status.is_streaming for status in fleet.status()] == [False, True, True]
