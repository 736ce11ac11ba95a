"""Who follows whom, and whose slot is whose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgfleet.core.diagnosis.fleet import Fleet, is_named_for
from pgfleet.core.diagnosis.rows import Sender
from pgfleet.core.diagnosis.snapshot import NodeSeen, Snapshot
from tests.unit.core.diagnosis.seen import RECEIVER, SENDER, SLOT, blocked, primary, sample, served, standby


def fleet(*nodes: NodeSeen) -> Fleet:
    return Fleet(Snapshot(nodes))


def sending(*senders: Sender) -> NodeSeen:
    node = primary()
    assert node.facts
    return replace(node, facts=replace(node.facts, last=replace(node.facts.last, senders=senders)))


@pytest.mark.parametrize(
    "sender",
    [
        replace(SENDER, application_name="other", client_address=None),
        replace(SENDER, slot=None, client_address=None),
        replace(SENDER, slot=None, application_name="walreceiver"),
    ],
    ids=["slot", "application_name", "address"],
)
def test_a_standby_is_known_by_its_slot_its_name_or_its_address(sender: Sender) -> None:
    seen = fleet(sending(sender), standby())
    found = seen.sender_of(seen.standbys[0])
    assert found
    assert found[1] is sender


def test_an_address_that_two_share_tells_nothing() -> None:
    sender = replace(SENDER, slot=None, application_name="walreceiver")
    seen = fleet(sending(sender, replace(sender, pid=42)), standby())
    assert seen.sender_of(seen.standbys[0]) is None


def test_the_primary_is_on_the_highest_timeline_of_the_cluster_that_is_configured() -> None:
    old, new = primary(), served(standby("replica-1"), in_recovery=False, timeline=2)
    stranger = served(standby("replica-2", 2), in_recovery=False, timeline=9, system_id="88")
    found = fleet(old, new, stranger).primary
    assert found
    assert found.name == "replica-1"


@pytest.mark.parametrize("slot", ["replica_1", "replica_1_slot", "pgfleet_replica_1"])
def test_a_slot_bears_the_name_of_its_node(slot: str) -> None:
    assert is_named_for(slot, "Replica-1")
    assert not is_named_for(slot, "replica-11")
    assert not is_named_for(slot, "replica-2")


def test_a_slot_is_its_standby_s_whatever_its_name() -> None:
    hidden = sample(standby().facts.last.positions, receiver=replace(RECEIVER, slot="odd"))  # type: ignore[union-attr]
    seen = fleet(primary(), standby(last=hidden), blocked(standby("replica-2", 2)))
    owner = seen.nodes[0]
    assert seen.owner_of(owner, replace(SLOT, name="odd")) == "replica-1"
    assert seen.owner_of(owner, replace(SLOT, name="replica_2_slot")) == "replica-2"
    assert seen.owner_of(owner, replace(SLOT, name="backup")) == ""
