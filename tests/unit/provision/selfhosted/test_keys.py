"""The keys of fleet.toml: what they become, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from pgfleet.errors import ConfigurationError
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.provision.selfhosted.keys import site_of
from pgfleet.provision.selfhosted.places import Login, Place, identifier, place_of, written

REMOTE = {"host": "10.0.0.2"}


def declared(
    *replicas: dict[str, Any], fleet: str = "inn", name: str = "replica", **tables: dict[str, Any]
) -> Declaration:
    wanted = tuple(
        WantedReplica(f"{name}-{number}", options=options) for number, options in enumerate(replicas, 1)
    )
    primary = {"host": "10.0.0.1", "dsn_env": "DATABASE_URL", **tables.get("primary", {})}
    return Declaration(fleet, "selfhosted", wanted, tables.get("provider", {}), primary, "/etc/fleet")


def problems(declaration: Declaration) -> str:
    with pytest.raises(ConfigurationError) as caught:
        site_of(declaration)
    return "\n".join(caught.value.problems)


def test_what_all_hosts_share_is_said_once() -> None:
    site = site_of(
        declared(
            REMOTE,
            {"host": "10.0.0.3", "ssh_user": "root", "port": 5433, "address": "db3.example"},
            provider={"ssh_user": "ops", "ssh_key": "id_fleet", "sslmode": "verify-ca"},
            primary={"wal_keep_size": "1GB"},
        )
    )
    assert [place.login.ssh_user for place in (site.primary, *site.replicas)] == ["ops", "ops", "root"]
    assert {place.login.ssh_key for place in site.replicas} == {"/etc/fleet/id_fleet"}
    assert [place.address for place in site.replicas] == ["10.0.0.2", "db3.example"]
    assert [place.is_encrypted for place in site.replicas] == [True, True]
    assert site.floors == {"wal_keep_size": "1GB"}


@pytest.mark.parametrize("host", [{}, {"host": "local"}])
def test_without_a_host_it_is_this_one(host: dict[str, Any]) -> None:
    (place,) = site_of(declared({**host, "port": 5433})).replicas
    assert place.login == Login()
    assert place.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"port": 70000}, "replica replica-1 port: is no port; write port = 5432"),
        ({"port": True}, "is no port"),
        ({"sslmode": "on"}, "'on' is unknown; write one of disable, allow"),
        ({"manager": "runit"}, "write one of systemd, pg_ctlcluster, pg_ctl"),
        ({"data_directory": "data"}, "is no absolute path"),
        ({"data_directory": "/"}, "is no absolute path"),
        ({"host_key": "AAAA"}, "is no public key"),
        ({"address": "10.0.0.2, 10.0.0.3"}, "is no address"),
        ({"address": "a b"}, "is no address"),
        ({"ssh_user": ""}, "is not a text"),
        ({"host": "10.0.0.1"}, "replica-1 port: 5432 on 10.0.0.1 is that of primary"),
    ],
)
def test_a_value_that_cannot_be(options: dict[str, Any], told: str) -> None:
    assert told in problems(declared({**REMOTE, **options}))


def test_everything_is_told_at_once() -> None:
    told = problems(
        declared(
            {"port": 0},
            {"host": "10.0.0.3"},
            primary={"host": "local", "wal_keep_size": 5, "max_wal_senders": "many"},
            provider={"known_hosts": 1},
        )
    )
    expected = (
        "replica-1 port",
        "[primary] wal_keep_size",
        "[primary] max_wal_senders",
        "[provider] known_hosts",
    )
    assert [part for part in (*expected, "[primary] address: is not set") if part not in told] == []


def test_a_name_that_is_too_long_for_a_slot() -> None:
    assert "longer than 63" in problems(declared(REMOTE, fleet="f" * 40, name="r" * 30))


def test_a_class_is_of_no_use() -> None:
    wanted = (WantedReplica("replica-1", instance_class="db.r5.xlarge", options=REMOTE),)
    told = problems(Declaration("inn", "selfhosted", wanted, primary={"host": "10.0.0.1"}))
    assert "replica replica-1 class" in told


def test_a_slot_has_the_names_of_the_fleet_and_the_replica() -> None:
    assert identifier("west-inn", "replica-1") == "west_inn_replica_1"


def test_a_place_is_found_again_by_what_was_written() -> None:
    place = Place("replica-1", Login("10.0.0.2", ssh_port=2222), data_directory="/data", sslmode="require")
    assert place_of(written(place)) == Place(
        "replica-1", Login("10.0.0.2", ssh_port=2222), data_directory="/data"
    )
    assert "5432" not in written(place)


def test_what_a_newer_release_wrote_is_passed_over() -> None:
    assert place_of('{"name": "replica-1", "colour": "red", "login": {"host": "a", "via": "b"}}') == Place(
        "replica-1", Login("a")
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1}'])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        place_of(text)
