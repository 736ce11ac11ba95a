"""Servers behind poolers: where the callers go, where the probes go, and what is said when one of both is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgfleet.adapters.session import SessionSettings
from pgfleet.errors import ConfigurationError
from pgfleet.settings import Dsn, NodeSettings, Settings

PASSWORD = "Γάτα"  # no letter of it may be told
ENV = {
    "PGFLEET_POOLER": "transaction",
    "DATABASE_URL": f"postgresql://app:{PASSWORD}@bouncer:6432/hotel",
    "DATABASE_PROBE_URL": f"postgresql://app:{PASSWORD}@primary/hotel",
    "READ_REPLICA_2_CONNECTION_STRING": f"postgresql://app:{PASSWORD}@bouncer:6433/hotel",
    "READ_REPLICA_2_PROBE_URL": f"postgresql://app:{PASSWORD}@replica/hotel",
}


def problem(**changes: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({name: text for name, text in (ENV | changes).items() if text})
    (line,) = caught.value.problems
    assert PASSWORD not in line
    return line


def test_callers_go_through_it_and_probes_past_it() -> None:
    settings = Settings.from_env(ENV)
    nodes = (settings.primary, *settings.replicas)
    assert [node.dsn.display for node in nodes] == ["bouncer:6432/hotel", "bouncer:6433/hotel"]
    assert [node.probe_dsn and node.probe_dsn.display for node in nodes] == [
        "primary:5432/hotel",
        "replica:5432/hotel",
    ]
    assert settings.pooler == "transaction"


def test_without_a_word_of_it_there_is_none() -> None:
    settings = Settings.from_env({"DATABASE_URL": ENV["DATABASE_URL"]})
    assert (settings.pooler, settings.primary.probe_dsn) == ("none", None)


@pytest.mark.parametrize("name", ["DATABASE_PROBE_URL", "READ_REPLICA_2_PROBE_URL"])
def test_each_node_behind_a_pooler_needs_an_address_for_its_probes(name: str) -> None:
    assert problem(**{name: ""}).startswith(f"{name}: is not set, but nodes are behind poolers; write ")


def test_two_nodes_are_not_probed_at_one_address() -> None:
    assert problem(READ_REPLICA_2_PROBE_URL=ENV["DATABASE_PROBE_URL"]).startswith(
        "READ_REPLICA_2_PROBE_URL: leads to the same server as DATABASE_PROBE_URL; "
    )


@pytest.mark.parametrize("name", ["DATABASE_PROBE_URL", "READ_REPLICA_2_PROBE_URL"])
def test_a_wrong_address_for_probes_is_told_by_its_name(name: str) -> None:
    assert problem(**{name: f"http://{PASSWORD}@replica/hotel"}).startswith(f"{name}: ")


def test_another_kind_of_pooler_is_refused() -> None:
    line = problem(PGFLEET_POOLER="statement")
    assert line == "PGFLEET_POOLER: 'statement' is not a kind of pooler; write none or transaction"


def test_servers_that_are_discovered_have_no_known_pooler() -> None:
    assert problem(PGFLEET_DISCOVERY="dns:replicas.example.com").startswith(
        "PGFLEET_DISCOVERY: finds servers, not"
    )


def test_made_in_code_the_same_is_told_by_fields() -> None:
    primary = NodeSettings("primary", Dsn.parse(ENV["DATABASE_URL"]))
    replica = NodeSettings("replica-1", Dsn.parse("postgresql://replica/hotel"))
    with pytest.raises(ConfigurationError) as caught:
        Settings(primary, (replica,), pooler="transaction")
    assert [line.partition(":")[0] for line in caught.value.problems] == [
        "primary.probe_dsn",
        "replicas[0].probe_dsn",
    ]


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, "-c statement_timeout=0"),
        ({"statement_timeout_s": 1.5}, "-c statement_timeout=1500"),
        ({"read_only": True}, "-c statement_timeout=0 -c default_transaction_read_only=on"),
        ({"pooled": True, "read_only": True, "statement_timeout_s": 1.5}, ""),
    ],
)
def test_a_session_begins_with_settings_of_ours_unless_it_is_a_poolers(fields: Any, options: str) -> None:
    session = SessionSettings(Dsn.parse("postgresql://primary/hotel"), **fields)
    assert session.options == options
    given = replace(session, dsn=Dsn.parse("postgresql://primary/hotel?options=-c%20work_mem%3D1MB"))
    assert given.options == f"{options} -c work_mem=1MB".strip()
