"""Replication slots: what they keep, and for whom."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet, Node
from pgfleet.core.diagnosis.rows import Slot
from pgfleet.core.diagnosis.steps import copy_anew
from pgfleet.core.diagnosis.thresholds import MB
from pgfleet.core.words import counted, literal, size, span


def slots(fleet: Fleet) -> Iterator[Finding]:
    """Each slot's own trouble: lost, about to be lost, used by nobody, keeping much."""
    for node in fleet.nodes:
        for slot in node.facts.slots:
            if not slot.synced:
                yield from _of(fleet, node, slot)


def unbounded(fleet: Fleet) -> Iterator[Finding]:
    """Servers with slots and without a bound on what these keep: a warning when one is used by nobody."""
    for node in fleet.nodes:
        bound = node.facts.number("max_slot_wal_keep_size")
        if not node.facts.slots or (bound is not None and bound >= 0) or not node.facts.settings:
            continue
        idle = [slot.name for slot in node.facts.slots if not slot.active]
        if bound is None and not idle:
            continue  # PostgreSQL 12 has no such bound
        yield Finding(
            "slot-unbounded",
            Severity.WARNING if idle else Severity.NOTICE,
            node.name,
            f"{counted(len(node.facts.slots), 'slot')}"
            + (f", of which nobody uses {', '.join(idle)}" if idle else ", all in use"),
            (
                Step(
                    "alter system set max_slot_wal_keep_size = '10GB';",
                    node.name,
                    "less than its disk has to spare",
                ),
                Step("select pg_reload_conf();", node.name),
            ),
            figures={"slots": len(node.facts.slots), "unused": len(idle)},
        )


def exhausted(fleet: Fleet) -> Iterator[Finding]:
    """A primary with no slot left for another replica."""
    node = fleet.primary
    most = node.facts.number("max_replication_slots") if node else None
    if node and most and len(node.facts.slots) >= most:
        yield Finding(
            "slots-exhausted",
            Severity.NOTICE,
            node.name,
            f"{len(node.facts.slots)} of max_replication_slots={most} are taken",
            (Step(f"alter system set max_replication_slots = {most + 10}; -- then restart", node.name),),
            figures={"used": len(node.facts.slots), "limit": most},
        )


def kept_bytes(node: Node, slot: Slot) -> int | None:
    """How much log a slot keeps; None: not known."""
    positions = node.facts.last.positions
    now = positions.inserted if node.is_primary else positions.replayed
    return None if now is None or slot.restart is None else max(0, now - slot.restart)


def _of(fleet: Fleet, node: Node, slot: Slot) -> Iterator[Finding]:
    kept = kept_bytes(node, slot)
    keeps = "" if kept is None else f", keeps {size(kept)}"
    owner = fleet.owner_of(node, slot)
    told = f"slot {slot.name}{f' of {owner}' if owner else ''}"
    figures = {"slot": slot.name, "keptBytes": kept}
    if slot.wal_status == "lost":
        why = f" ({slot.reason})" if slot.reason else ""
        yield Finding(
            "slot-lost",
            Severity.CRITICAL if owner else Severity.WARNING,
            node.name,
            f"{told}: wal_status is lost{why}",
            _after_loss(node, slot, owner),
            owner,
            figures,
        )
    elif slot.wal_status == "unreserved":
        yield Finding(
            "slot-unreserved",
            Severity.CRITICAL,
            node.name,
            f"{told}: wal_status is unreserved{keeps}",
            _raise_bound(node),
            owner,
            figures,
        )
    elif not slot.active and slot.restart is not None:
        since = f", for {span(slot.inactive_s)}" if slot.inactive_s is not None else ""
        yield Finding(
            "slot-inactive",
            Severity.CRITICAL if _is_much(fleet, node, kept) else Severity.WARNING,
            node.name,
            f"{told}: inactive{since}{keeps}{_of_bound(node, kept)}",
            _unused(node, slot, owner),
            owner,
            figures,
        )
    elif slot.active and _is_much(fleet, node, kept):
        yield Finding(
            "slot-retains-wal",
            Severity.WARNING,
            node.name,
            f"{told}: active{keeps}{_of_bound(node, kept)}",
            _raise_bound(node),
            owner,
            figures,
        )


def _is_much(fleet: Fleet, node: Node, kept: int | None) -> bool:
    """More than a share of the bound, or than an amount where there is none."""
    bound = _bound_bytes(node)
    limit = bound * fleet.thresholds.slot_share if bound else fleet.thresholds.slot_bytes
    return kept is not None and kept > limit


def _bound_bytes(node: Node) -> int | None:
    bound = node.facts.number("max_slot_wal_keep_size")
    return bound * MB if bound is not None and bound > 0 else None


def _of_bound(node: Node, kept: int | None) -> str:
    bound = _bound_bytes(node)
    if bound is None or kept is None:
        return ""
    return f", of {size(bound)} that max_slot_wal_keep_size allows"


def _unused(node: Node, slot: Slot, owner: str) -> tuple[Step, ...]:
    drop = Step(
        f"select pg_drop_replication_slot({literal(slot.name)});",
        node.name,
        "if what used it will not come back; it must be copied anew if it does",
    )
    if not owner:
        return (drop,)
    return (Step("systemctl restart postgresql", owner, "to have it used again"), drop)


def _after_loss(node: Node, slot: Slot, owner: str) -> tuple[Step, ...]:
    name = literal(slot.name)
    drop = Step(f"select pg_drop_replication_slot({name});", node.name)
    if not owner:
        return (drop,)
    return (
        drop,
        Step(f"select pg_create_physical_replication_slot({name}, true);", node.name),
        copy_anew(node, owner, slot.name),
    )


def _raise_bound(node: Node) -> tuple[Step, ...]:
    bound = node.facts.number("max_slot_wal_keep_size") or 0
    wanted = f"{max(1024, bound * 2)}MB"
    return (
        Step(f"alter system set max_slot_wal_keep_size = '{wanted}';", node.name, "if its disk has the room"),
        Step("select pg_reload_conf();", node.name),
    )
