"""Our lines in somebody's pg_hba.conf."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgfleet.provision.selfhosted.hba import block_of, rules, with_block
from pgfleet.provision.selfhosted.places import Place

LINES = st.lists(st.sampled_from(["# a comment", "", "local all all peer", "host all all 10.0.0.0/8 reject"]))
FILES = LINES.map(lambda lines: "".join(f"{line}\n" for line in lines))
OURS = ("host replication inn_replica_1 10.0.0.2/32 scram-sha-256",)


def test_a_line_for_each_host_and_no_other() -> None:
    places = (
        Place("replica-1", address="10.0.0.2"),
        Place("replica-2", address="fd00::2", sslmode="require"),
        Place("replica-3", address="db3.example", seen_as="10.9.0.0/24", sslmode="prefer"),
        Place("replica-4", address="db4.example"),
    )
    assert rules("inn", places) == (
        "host replication inn_replica_1 10.0.0.2/32 scram-sha-256",
        "hostssl replication inn_replica_2 fd00::2/128 scram-sha-256",
        "host replication inn_replica_3 10.9.0.0/24 scram-sha-256",
        "host replication inn_replica_4 db4.example scram-sha-256",
    )


@given(FILES, FILES)
def test_the_block_is_first_and_leaves_no_trace(before: str, later: str) -> None:
    text = with_block(before, "inn", OURS)
    block = block_of(text, "inn")
    assert block is not None
    assert (block.rules, block.is_first) == (OURS, True)
    assert with_block(text, "inn", OURS) == text
    assert with_block(later + text, "inn", ()) == later + before
    assert block_of(before, "inn") is None


def test_a_rule_before_the_block_may_take_its_clients_away() -> None:
    text = "host all all all reject\n" + with_block("", "inn", OURS)
    block = block_of(text, "inn")
    assert block is not None
    assert not block.is_first


def test_the_blocks_of_two_fleets_do_not_stand_in_each_others_way() -> None:
    text = with_block(
        with_block("", "inn", OURS), "inn-two", ("host replication x 10.0.0.3/32 scram-sha-256",)
    )
    both = [block_of(text, name) for name in ("inn", "inn-two")]
    assert [block is not None and block.is_first for block in both] == [True, True]
    assert block_of(with_block(text, "inn", ()), "inn-two") == both[1]


def test_a_block_without_its_end_takes_nothing_of_others_with_it() -> None:
    broken = with_block("local all all peer\n", "inn", OURS).replace("# pgfleet inn: end\n", "")
    assert block_of(broken, "inn") is None
    assert "local all all peer\n" in with_block(broken, "inn", OURS)
