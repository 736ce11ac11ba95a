"""What Patroni's `/cluster` says, as servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgfleet.core.membership import Found
from pgfleet.discovery.members import read_cluster


def member(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "role": "replica",
        "state": "streaming",
        "host": f"{name}.example",
        "port": 5432,
        **more,
    }


def read(*members: dict[str, Any]) -> tuple[Found, ...]:
    return read_cluster(json.dumps({"scope": "hotel", "members": members}).encode())


def test_every_member_is_a_server_by_its_own_name() -> None:
    assert read(member("a", role="leader"), member("b", port=5433)) == (
        Found("a", "a.example", 5432),
        Found("b", "b.example", 5433),
    )


@pytest.mark.parametrize(
    "state", ["running", "streaming", "in archive recovery", "starting", "stopped", "crashed"]
)
@pytest.mark.parametrize("role", ["leader", "replica", "sync_standby", "quorum_standby", "standby_leader"])
def test_roles_and_states_decide_nothing(role: str, state: str) -> None:
    assert read(member("a", role=role, state=state)) == (Found("a", "a.example", 5432),)


@pytest.mark.parametrize(
    ("tags", "takes_reads"),
    [
        ({"noloadbalance": True}, False),
        ({"noloadbalance": "true"}, False),
        ({"noloadbalance": False}, True),
        ({"noloadbalance": "false"}, True),
        ({"nofailover": True}, True),
        ({}, True),
        (None, True),
    ],
)
def test_only_noloadbalance_keeps_reads_away(tags: dict[str, Any] | None, takes_reads: bool) -> None:
    assert read(member("a", tags=tags))[0].takes_reads is takes_reads


def test_a_member_that_has_not_started_yet_has_no_address() -> None:
    assert read(member("a"), {"name": "b", "role": "uninitialized", "state": "initializing"}) == (
        Found("a", "a.example", 5432),
    )


def test_a_name_that_fits_into_no_url_is_made_to_fit() -> None:
    assert read(member("db 1/x"))[0].name == "db-1-x"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"members": 1}', b'{"members": [1]}', b'{"members": [{"host": "a", "port": 1}]}',
     b'{"members": [{"name": "a", "host": "a", "port": "x"}]}', b'{"members": [{"name": 1, "host": "a", "port": 1}]}',
     b'{"members": [{"name": "a", "host": "a", "port": 1, "tags": "x"}]}', b"\xff"],
)  # fmt: skip
def test_another_answer_is_one_clear_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="does not answer as Patroni's /cluster does"):
        read_cluster(body)


def test_no_member_is_an_error_and_no_empty_fleet() -> None:
    with pytest.raises(ValueError, match="no member with an address"):
        read()
