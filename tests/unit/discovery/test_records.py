"""DNS records as servers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.membership import Found
from pgfleet.discovery.names import LONGEST, node_name
from pgfleet.discovery.records import SrvRecord, interval_s, of_addresses, of_srv


def test_each_address_is_a_server_whatever_the_order_of_the_answer() -> None:
    found = (Found("10.0.0.1", "10.0.0.1", 5432), Found("10.0.0.2", "10.0.0.2", 5432))
    assert of_addresses(["10.0.0.2", "10.0.0.1"], 5432) == found
    assert of_addresses(["10.0.0.1", "10.0.0.2", "10.0.0.1"], 5432) == found


def test_an_unusual_port_and_an_ipv6_address_make_a_name_all_the_same() -> None:
    assert of_addresses(["2001:db8::1"], 6432) == (Found("2001-db8--1-6432", "2001:db8::1", 6432),)


def test_no_address_is_no_server() -> None:
    assert of_addresses([], 5432) == of_srv([]) == of_srv([SrvRecord(0, 0, 0, ".")]) == ()


def test_a_record_gives_host_port_and_weight() -> None:
    assert of_srv([SrvRecord(10, 60, 5432, "b.example."), SrvRecord(10, 40, 6432, "a.example.")]) == (
        Found("a.example-6432", "a.example", 6432, weight=40),
        Found("b.example", "b.example", 5432, weight=60),
    )


def test_only_the_lowest_priority_takes_reads() -> None:
    found = of_srv([SrvRecord(20, 1, 5432, "far."), SrvRecord(10, 1, 5432, "near.")])
    assert [(server.name, server.takes_reads) for server in found] == [("near", True), ("far", False)]


def test_of_two_records_of_one_server_the_lower_priority_counts() -> None:
    found = of_srv([SrvRecord(20, 1, 5432, "a."), SrvRecord(10, 1, 5432, "A."), SrvRecord(10, 1, 5432, "b.")])
    assert [(server.host, server.takes_reads) for server in found] == [("A", True), ("b", True)]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((0, 0), (1, 1)),
        ((0, 50), (1, 50)),
        ((100, 1), (100, 1)),
        ((65535, 32768), (100, 50)),
        ((1000, 1), (100, 1)),
    ],
)
def test_weights_are_scaled_only_when_they_do_not_fit(
    weights: tuple[int, int], expected: tuple[int, int]
) -> None:
    found = of_srv(
        SrvRecord(0, weight, 5432, name) for weight, name in zip(weights, ("a.", "b."), strict=True)
    )
    assert {server.name: server.weight for server in found} == dict(zip("ab", expected, strict=True))


@given(
    st.lists(
        st.builds(SrvRecord, *[st.integers(0, 65535)] * 2, st.integers(1, 65535), st.sampled_from("abc"))
    )
)
def test_every_server_stands_once_with_a_weight_that_fits(records: list[SrvRecord]) -> None:
    found = of_srv(records)
    assert {(server.host, server.port) for server in found} == {(r.target, r.port) for r in records}
    assert len({server.name for server in found}) == len(found)
    assert all(1 <= server.weight <= 100 for server in found)
    assert any(server.takes_reads for server in found) or not records


@pytest.mark.parametrize(("ttl_s", "expected_s"), [(0, 1), (1, 1), (30, 30), (60, 60), (86400, 60)])
def test_a_ttl_is_honoured_within_bounds(ttl_s: int, expected_s: float) -> None:
    assert interval_s(ttl_s) == expected_s


@given(st.text(min_size=1))
def test_any_text_makes_a_name_that_a_node_may_have(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", node_name(text))


def test_long_names_that_begin_alike_stay_apart() -> None:
    one, other = node_name("a" * 80 + "1"), node_name("a" * 80 + "2")
    assert one != other
    assert len(one) == len(other) == LONGEST
