"""The snapshot as the findings read it: who is the primary, who follows whom, whose slot is whose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from pgfleet.core.diagnosis.rows import Receiver, Sender, Slot
from pgfleet.core.diagnosis.snapshot import Facts, NodeSeen, Snapshot
from pgfleet.core.diagnosis.thresholds import Thresholds

UNNAMED = frozenset(("", "walreceiver"))
"""An `application_name` that tells no standby from another."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node that answered."""

    seen: NodeSeen
    facts: Facts

    @property
    def name(self) -> str:
        """As in the settings."""
        return self.seen.name

    @property
    def is_standby(self) -> bool:
        """It replays what another server writes."""
        return self.facts.server.in_recovery and not self.facts.server.is_aurora

    @property
    def is_primary(self) -> bool:
        """It takes writes."""
        return not self.facts.server.in_recovery

    @property
    def knows_receiver(self) -> bool:
        """Whether it told if a walreceiver runs."""
        return "what it receives" not in {unseen.what for unseen in self.seen.unseen}

    @property
    def receiver(self) -> Receiver | None:
        """Its walreceiver, when we looked last."""
        return self.facts.last.receiver

    @property
    def receives(self) -> bool:
        """Whether its walreceiver is at work. One that fails is begun anew every few seconds: it has another pid."""
        receiver, before = self.receiver, self.facts.first.receiver
        if receiver is None or before is None or receiver.pid != before.pid:
            return False
        return receiver.status in (None, "starting", "streaming")

    @property
    def slot(self) -> str | None:
        """The slot that it uses on the server it follows."""
        receiver, origin = self.receiver, self.facts.origin
        return (receiver.slot if receiver else None) or (origin.slot if origin else None)

    @property
    def application_names(self) -> set[str]:
        """The names under which it may stand in `pg_stat_replication`."""
        receiver, origin = self.receiver, self.facts.origin
        told = [receiver.application_name if receiver else None, origin.application_name if origin else None]
        known = [name for name in told if name] or [self.facts.text("cluster_name") or "", self.name]
        return {*known, self.name} - UNNAMED


@dataclass(frozen=True)
class Fleet:
    """Everything that answered, and everything that did not."""

    snapshot: Snapshot
    thresholds: Thresholds = field(default_factory=Thresholds)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Those that answered, in the order of the settings."""
        return tuple(Node(seen, seen.facts) for seen in self.snapshot.nodes if seen.facts)

    @cached_property
    def blocked(self) -> tuple[NodeSeen, ...]:
        """Those that did not."""
        return tuple(seen for seen in self.snapshot.nodes if seen.blocked)

    @cached_property
    def configured_primary(self) -> NodeSeen:
        """The one of `DATABASE_URL`."""
        return next(seen for seen in self.snapshot.nodes if seen.configured_primary)

    @cached_property
    def primaries(self) -> tuple[Node, ...]:
        """Every server that takes writes, the one on the highest timeline first, each once."""
        found = {(n.facts.server.system_id, n.facts.server.started_us): n for n in reversed(self.nodes)}
        writable = [node for node in found.values() if node.is_primary]
        return tuple(
            sorted(writable, key=lambda n: (-(n.facts.server.timeline or 0), not n.seen.configured_primary))
        )

    @cached_property
    def primary(self) -> Node | None:
        """The one that the others should follow: of the cluster that `DATABASE_URL` leads to, if that answers."""
        wanted = next((n.facts.server.system_id for n in self.nodes if n.seen.configured_primary), None)
        ours = [n for n in self.primaries if wanted in (None, n.facts.server.system_id)]
        return next(iter(ours or self.primaries), None)

    @cached_property
    def standbys(self) -> tuple[Node, ...]:
        """The replicas that answered, of the primary's cluster; of any, when no primary answers."""
        cluster = self.primary.facts.server.system_id if self.primary else None
        return tuple(n for n in self.nodes if n.is_standby and cluster in (None, n.facts.server.system_id))

    def senders(self) -> Iterator[tuple[Node, Sender]]:
        """Every walsender of every node that answered."""
        for node in self.nodes:
            for sender in node.facts.last.senders:
                yield node, sender

    def sender_of(self, standby: Node) -> tuple[Node, Sender] | None:
        """The walsender that a standby streams from, and its server; None: none is known to be its own."""
        others = [(node, sender) for node, sender in self.senders() if node.name != standby.name]
        for node, sender in others:
            if sender.slot and sender.slot == standby.slot:
                return node, sender
        for node, sender in others:
            if sender.application_name in standby.application_names:
                return node, sender
        return self._by_address(standby, others)

    def _by_address(self, standby: Node, others: list[tuple[Node, Sender]]) -> tuple[Node, Sender] | None:
        """When the address is that of one node of ours and of one walsender, it tells as much as a name."""
        addresses = {host for host, _ in standby.seen.hosts}
        found = [(node, sender) for node, sender in others if sender.client_address in addresses]
        mine = [n for n in self.snapshot.nodes if addresses & {host for host, _ in n.hosts}]
        return found[0] if len(found) == len(mine) == 1 else None

    def owner_of(self, server: Node, slot: Slot) -> str:
        """The node that a slot of `server` is for; empty: not known."""
        for standby in self.standbys:
            if standby.name != server.name and slot.name == standby.slot:
                return standby.name
        for seen in self.snapshot.nodes:
            if seen.name != server.name and is_named_for(slot.name, seen.name):
                return seen.name
        return ""

    def sender_may_be(self, seen: NodeSeen) -> bool:
        """Whether a walsender may be that of a node which does not tell its names."""
        taken = {found[1].pid for n in self.standbys if (found := self.sender_of(n))}
        return any(sender.pid not in taken for _, sender in self.senders())


def is_named_for(slot: str, node: str) -> bool:
    """Whether a slot bears a node's name, as `replica_1`, `replica_1_slot` or `pgfleet_replica_1` do."""
    base = node.lower().replace("-", "_")
    return slot in (base, f"{base}_slot") or slot.endswith(f"_{base}")
