"""What every discovery does. One that asks a server is added here with a server to ask."""

from __future__ import annotations

from pgfleet.discovery import SCHEMES, load
from pgfleet.ports import Discovery
from pgfleet.runtimes import ThreadRuntime, drive


def made(setting: str) -> Discovery:
    return load(setting, ThreadRuntime())


def test_a_list_of_addresses_is_what_it_says() -> None:
    found = drive(made("static:db-2:6432,db-3,db-4:1,db-4:2").find())
    assert [(one.name, one.host, one.port) for one in found] == [
        ("db-2", "db-2", 6432),
        ("db-3", "db-3", 5432),
        ("db-4-1", "db-4", 1),
        ("db-4-2", "db-4", 2),
    ]
    assert {(one.weight, one.zone, one.takes_reads) for one in found} == {(1, None, True)}


def test_it_names_each_server_once_and_says_when_to_ask_again() -> None:
    discovery = made("static:db-2,db-3")
    found = drive(discovery.find())
    assert len({one.name for one in found}) == len({(one.host, one.port) for one in found}) == len(found) > 0
    assert discovery.interval_s > 0


def test_every_scheme_of_the_setting_has_an_implementation() -> None:
    from pgfleet.settings.kinds import DISCOVERED

    addresses = {"patroni": "http://h:8008", "rds": "hotel", "cloudsql": "project/hotel"}
    for scheme in SCHEMES:
        assert DISCOVERED.parse(f"{scheme}:{addresses.get(scheme, 'h.example.com')}")
