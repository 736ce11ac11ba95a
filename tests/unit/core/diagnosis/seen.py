"""A fleet that is well, as the doctor sees it, to be changed by tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pgfleet.core.diagnosis.diagnose import diagnose
from pgfleet.core.diagnosis.finding import Finding
from pgfleet.core.diagnosis.obstacle import Blocked, Obstacle
from pgfleet.core.diagnosis.rows import Positions, Receiver, Sample, Sender, Server, Setting, Slot, Use
from pgfleet.core.diagnosis.snapshot import Facts, NodeSeen, Snapshot

SERVER = Server(
    version=180006, in_recovery=False, is_aurora=False, system_id="77", started_us=1, timeline=1,
    role="app", database="db", reads_stats=True, reads_settings=True, lists_wal=True, on_this_host=False,
    database_limit=None, role_limit=None,
)  # fmt: skip
POSITIONS = Positions(1000.0, 5000, 5000, None, None, None, None)
REPLAYING = Positions(1000.0, None, None, 5000, 5000, "not paused", 999.0)
RECEIVER = Receiver(9, "streaming", 1, "replica_1", "db-0", 5432, "replica-1")
SENDER = Sender(
    41,
    "standbys",
    "replica-1",
    "10.0.0.1",
    "streaming",
    5000,
    5000,
    5000,
    5000,
    None,
    "async",
    None,
    "replica_1",
)
SLOT = Slot("replica_1", "physical", True, 41, 4000, None, "reserved", None, None, None)
USE = Use(3, 2, 3, 0, None, 0)
MB = 1 << 20


def settings(**values: object) -> dict[str, Setting]:
    given = {
        "max_connections": 100,
        "superuser_reserved_connections": 3,
        "max_slot_wal_keep_size": 1024,
    } | values
    return {name: Setting(name, str(value), str(value), False) for name, value in given.items()}


def sample(positions: Positions, at_s: float = 1000.0, **others: Any) -> Sample:
    """A look that took 20 ms, at a server whose clock is right."""
    return Sample(at_s, at_s + 0.02, replace(positions, clock_s=at_s + 0.01), **others)


def primary(name: str = "primary", **changes: Any) -> NodeSeen:
    look = sample(POSITIONS, senders=(SENDER,))
    facts = Facts(
        SERVER, look, replace(look, asked_s=1001.0, answered_s=1001.02), settings(), slots=(SLOT,), use=USE
    )
    return _node(name, facts, 0, changes, configured_primary=True)


def standby(name: str = "replica-1", number: int = 1, **changes: Any) -> NodeSeen:
    look = sample(REPLAYING, receiver=RECEIVER)
    server = replace(SERVER, in_recovery=True, started_us=1 + number)
    facts = Facts(server, look, replace(look, asked_s=1001.0, answered_s=1001.02), settings(), use=USE)
    return _node(name, facts, number, changes, configured_primary=False)


def _node(
    name: str, facts: Facts, number: int, changes: dict[str, Any], *, configured_primary: bool
) -> NodeSeen:
    return NodeSeen(
        name,
        f"10.0.0.{number}:5432/db",
        "app",
        ((f"10.0.0.{number}", 5432),),
        configured_primary,
        variable=f"READ_REPLICA_{number}_CONNECTION_STRING" if number else "DATABASE_URL",
        pool_connections=51,
        facts=replace(facts, **changes),
    )


def blocked(node: NodeSeen, obstacle: Obstacle = Obstacle.SILENT) -> NodeSeen:
    return replace(node, facts=None, blocked=Blocked(obstacle, "said"))


def moved(node: NodeSeen, **changes: Any) -> NodeSeen:
    """The node with other positions at the last look."""
    assert node.facts
    last = node.facts.last
    return replace(
        node, facts=replace(node.facts, last=replace(last, positions=replace(last.positions, **changes)))
    )


def served(node: NodeSeen, **changes: Any) -> NodeSeen:
    """The node with another server behind it."""
    assert node.facts
    return replace(node, facts=replace(node.facts, server=replace(node.facts.server, **changes)))


def found(*nodes: NodeSeen, **options: Any) -> tuple[Finding, ...]:
    return diagnose(Snapshot(nodes, **options))


def ids(*nodes: NodeSeen, **options: Any) -> list[str]:
    return [finding.id for finding in found(*nodes, **options)]
