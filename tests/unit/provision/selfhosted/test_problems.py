"""Why a fleet cannot be, told by what was seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgfleet.core.changes import Action, changes
from pgfleet.errors import ProvisionError
from pgfleet.local.scram import scram_verifier
from pgfleet.provision.selfhosted.facts import Data, Machine, Primary, Replica, Role, Slot
from pgfleet.provision.selfhosted.hba import rules, with_block
from pgfleet.provision.selfhosted.look_primary import check_version
from pgfleet.provision.selfhosted.managers import Manager
from pgfleet.provision.selfhosted.marks import Mark
from pgfleet.provision.selfhosted.places import Login, Place, Site
from pgfleet.provision.selfhosted.problems import problems
from pgfleet.provision.selfhosted.settings import conninfo
from pgfleet.provision.selfhosted.steps import step
from pgfleet.provision.selfhosted.view import View
from pgfleet.provision.selfhosted.wishes import upstream, wanted

PLACE = Place(
    "replica-1",
    Login("10.0.0.2"),
    "10.0.0.2",
    data_directory="/data",
    bin_directory="/pg/bin",
    state_directory="/state",
)
SITE = Site("inn", Place("primary", Login("10.0.0.1"), "10.0.0.1"), (PLACE,))
MANAGER = Manager("pg_ctl", 18, "/pg/bin", "/data")
SETTINGS = {
    "data_directory": "/primary", "hba_file": "/primary/pg_hba.conf", "listen_addresses": "*", "max_connections": "100",
    "max_locks_per_transaction": "64", "max_prepared_transactions": "0", "max_replication_slots": "10",
    "max_slot_wal_keep_size": "1024", "max_wal_senders": "10", "max_worker_processes": "8", "ssl": "off",
    "wal_keep_size": "0", "wal_level": "replica",
}  # fmt: skip
PRIMARY = Primary(
    version=180006,
    system_id="77",
    settings=SETTINGS,
    commanded=frozenset(),
    hba="",
    roles=(),
    strangers=frozenset({"postgres"}),
    slots=(),
    streaming=frozenset(),
    size_bytes=100 << 20,
    free_bytes=10 << 30,
    machine=Machine("x86_64", "glibc 2.36", frozenset({"10.0.0.1"})),
    manager=MANAGER,
)
EMPTY = Replica(PLACE, Machine("x86_64"), Data.NOTHING, free_bytes=1 << 40, manager=MANAGER)


def view(
    primary: dict[str, Any] | None = None, replica: dict[str, Any] | None = None, site: Site = SITE
) -> View:
    return View(site, replace(PRIMARY, **(primary or {})), {"replica-1": replace(EMPTY, **(replica or {}))})


def settings(**values: str) -> dict[str, Any]:
    return {"settings": SETTINGS | values}


def secured(mode: str) -> Site:
    return replace(SITE, replicas=(replace(PLACE, sslmode=mode),))


def test_nothing_stands_against_it() -> None:
    assert problems(view()) == []
    found = changes(wanted(SITE), view().existing())
    assert [(change.action, change.resource.kind) for change in found.changes] == [
        (Action.KEEP, "settings"),
        (Action.CREATE, "role"),
        (Action.CREATE, "access"),
        (Action.CREATE, "slot"),
        (Action.CREATE, "replica"),
    ]


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (view({"tablespaces": ("/ssd",)}), "has tablespaces (/ssd)"),
        (view(site=secured("require")), "ssl is off"),
        (view({**settings(wal_level="minimal"), "commanded": frozenset({"wal_level"})}), "on its command line"),
        (view({"slots": tuple(Slot(f"s{n}", True) for n in range(10))}), "max_replication_slots must be 11 or more"),
        (view(replica={"machine": Machine("aarch64")}), "is aarch64 and the primary x86_64"),
        (view(replica={"free_bytes": 50 << 20}), "50.0 MB free and the copy needs 366.0 MB"),
        (view(replica={"can_write_state": False}), "cannot write to /state"),
        (view(replica={"reaches_primary": False}), "does not reach PostgreSQL at 10.0.0.1 port 5432"),
        (view(replica={"misses": ("/ca.crt",)}), "cannot read /ca.crt"),
        (view(replica={"cluster_data": "/else"}), "whose data are in /else"),
        (view(replica={"place": replace(PLACE, bin_directory=""), "versions": (15, 16)}), "there is 15, 16; install"),
        (view(replica={"place": replace(PLACE, data_directory="")}), "write data_directory"),
        (
            view(replica={"place": replace(PLACE, manager="systemd"), "machine": Machine("x86_64", has_root=False)}),
            "systemd needs root",
        ),
        (
            view(replica={"place": replace(PLACE, login=Login("10.0.0.1"), data_directory="/primary")}),
            "/primary is that of primary",
        ),
    ],
)  # fmt: skip
def test_what_stands_against_it_and_the_next_step(seen: View, told: str) -> None:
    (problem,) = problems(seen)
    assert told in problem
    assert ";" in problem, "the next step"


def test_slots_of_others_have_room_where_the_primary_has_it_already() -> None:
    others = {"slots": tuple(Slot(f"s{n}", True) for n in range(20))}
    assert problems(view(settings(max_replication_slots="21") | others)) == []
    assert problems(view(settings(max_replication_slots="20") | others))


def test_a_primary_that_does_not_listen_yet_is_not_reached_yet() -> None:
    seen = view(settings(listen_addresses="localhost"), {"reaches_primary": False})
    assert problems(seen) == []
    change = changes(wanted(SITE), seen.existing()).changes[0]
    made = step(seen, change)
    assert made.consent == "restart"
    assert "listen_addresses localhost -> localhost,10.0.0.1" in made.title


@pytest.mark.parametrize(
    ("values", "asked", "title", "consent"),
    [
        ({"wal_level": "minimal"}, {}, "wal_level minimal -> replica", "restart"),
        ({"max_wal_senders": "5"}, {}, "max_wal_senders 5 -> 10", "restart"),
        ({"max_slot_wal_keep_size": "-1"}, {}, "max_slot_wal_keep_size -1 -> 5GB", ""),
        ({}, {"max_slot_wal_keep_size": "50GB"}, "max_slot_wal_keep_size 1GB -> 50GB", ""),
        ({}, {"wal_keep_size": "2GB"}, "wal_keep_size 0 -> 2GB", ""),
    ],
)
def test_settings_are_raised_and_a_restart_asks(
    values: dict[str, str], asked: dict[str, str], title: str, consent: str
) -> None:
    site = replace(SITE, floors=asked)
    seen = view(settings(**values), site=site)
    made = step(seen, changes(wanted(site), seen.existing()).changes[0])
    assert made.title == f"change settings of the primary: {title}"
    assert made.consent == consent
    assert any(line.endswith("pg_reload_conf()'") for line in made.commands) == (not consent)


@pytest.mark.parametrize(
    "values",
    [
        {"wal_level": "logical", "max_wal_senders": "40"},
        {"max_replication_slots": "99", "wal_keep_size": "5"},
    ],
)
def test_settings_that_are_more_than_enough_stay(values: dict[str, str]) -> None:
    found = changes(wanted(SITE), view(settings(**values)).existing())
    assert found.changes[0].action is Action.KEEP


def test_settings_stay_when_all_else_goes() -> None:
    assert changes((), view().existing()).changes == ()


def whole() -> View:
    """A fleet as it should be."""
    words = upstream(SITE, PLACE, "/state/inn/replica-1.pgpass")
    values = {"port": "5432", "primary_conninfo": conninfo(words), "primary_slot_name": "inn_replica_1"}
    return view(
        {
            "roles": (Role("inn_replica_1", PLACE, True, scram_verifier("pw")),),
            "slots": (Slot("inn_replica_1", True, True),),
            "streaming": frozenset({("replica-1", "inn_replica_1")}),
            "hba": with_block("", "inn", rules("inn", SITE.replicas)),
        },
        {
            "data": Data.OURS, "system_id": "77", "is_running": True, "is_standby": True, "password": "pw",
            "values": values, "mark": Mark("inn", "replica-1", "/data", "abc", is_whole=True, is_settled=True),
        },
    )  # fmt: skip


def with_replica(**fields: Any) -> View:
    seen = whole()
    return replace(seen, replicas={"replica-1": replace(seen.replicas["replica-1"], **fields)})


def with_primary(**fields: Any) -> View:
    seen = whole()
    return replace(seen, primary=replace(seen.primary, **fields))


def to_do(seen: View) -> list[tuple[Action, str]]:
    found = changes(wanted(SITE), seen.existing())
    assert found.problems == ()
    return [(change.action, change.resource.kind) for change in found.to_do]


def test_a_whole_fleet_is_left_alone() -> None:
    assert to_do(whole()) == []


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (with_replica(is_running=False), "replica"),
        (with_replica(password="other"), "role"),
        (with_primary(streaming=frozenset()), "replica"),
        (with_primary(streaming=frozenset({("replica-1", "somebody")})), "replica"),
        (with_primary(slots=(Slot("inn_replica_1", True, is_lost=True),)), "slot"),
        (with_primary(hba="host all all all reject\n" + whole().primary.hba), "access"),
    ],
)
def test_what_is_there_and_not_as_it_should_be_is_finished(seen: View, kind: str) -> None:
    assert to_do(seen) == [(Action.FINISH, kind)]


def test_a_password_in_the_configuration_is_taken_out() -> None:
    values = dict(whole().replicas["replica-1"].values)
    values["primary_conninfo"] += " password=s3cr3t"
    seen = with_replica(values=values)
    assert to_do(seen) == [(Action.FINISH, "replica")]
    assert "s3cr3t" not in repr(seen)
    assert "s3cr3t" not in repr(changes(wanted(SITE), seen.existing()))


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (with_replica(data=Data.FOREIGN), "was not made by this file"),
        (with_replica(is_standby=False), "it was promoted"),
        (with_replica(system_id="78"), "belongs to another primary"),
        (with_primary(roles=(), strangers=frozenset({"inn_replica_1"})), "bears not the mark"),
        (with_primary(roles=()), "is in use by another"),
        (with_primary(slots=(Slot("inn_replica_1", is_physical=False),)), "its type is logical"),
    ],
)
def test_what_is_not_ours_is_a_problem_and_never_removed(seen: View, told: str) -> None:
    assert any(told in line for line in changes(wanted(SITE), seen.existing()).problems)
    if told != "its type is logical":
        assert "replica" not in {
            change.resource.kind
            for change in changes((), seen.existing()).changes
            if seen.replicas["replica-1"] != whole().replicas["replica-1"]
        }


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ({"standby": True, "superuser": True, "version": 180000}, "is a standby"),
        ({"standby": False, "superuser": False, "version": 180000}, "no superuser"),
        ({"standby": False, "superuser": True, "version": 120022}, "PostgreSQL 12 is too old"),
    ],
)
def test_what_is_no_primary_for_us(role: dict[str, Any], told: str) -> None:
    with pytest.raises(ProvisionError, match=told) as caught:
        check_version(SITE.primary, role)
    assert caught.value.hint
