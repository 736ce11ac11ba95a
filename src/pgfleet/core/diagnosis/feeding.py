"""What keeps a replica from receiving."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet, Node, is_named_for
from pgfleet.core.diagnosis.steps import copy_anew, follow
from pgfleet.core.words import counted, literal, size

SEGMENTS_BYTES = 1 << 32


def wal_level(fleet: Fleet) -> Iterator[Finding]:
    """A primary that nobody can follow."""
    primary = fleet.primary
    if primary and primary.facts.text("wal_level") == "minimal":
        yield Finding(
            "wal-level-minimal",
            Severity.CRITICAL,
            primary.name,
            f"wal_level=minimal, max_wal_senders={primary.facts.text('max_wal_senders')}",
            (
                Step("alter system set wal_level = 'replica';", primary.name),
                Step("alter system set max_wal_senders = 10;", primary.name),
                Step("systemctl restart postgresql", primary.name),
            ),
        )


def walsenders_exhausted(fleet: Fleet) -> Iterator[Finding]:
    """A server all of whose walsenders are taken."""
    for node in fleet.nodes:
        used, most = len(node.facts.last.senders), node.facts.number("max_wal_senders")
        if not most or used < most:
            continue
        yield Finding(
            "walsenders-exhausted",
            Severity.WARNING,
            node.name,
            f"{used} of max_wal_senders={most} are taken",
            (
                Step("select pid, application_name, client_addr, state from pg_stat_replication;", node.name),
                Step(
                    f"alter system set max_wal_senders = {most + 10}; -- then restart",
                    node.name,
                    "after its standbys, which need as many",
                ),
            ),
            figures={"used": used, "limit": most},
        )


def receivers(fleet: Fleet) -> Iterator[Finding]:
    """Standbys whose walreceiver does not run, and what else is known of why."""
    for node in fleet.standbys:
        if node.receives or not node.knows_receiver:
            continue
        receiver = node.receiver
        said = "its walreceiver does not stay" if receiver else "it has no walreceiver"
        yield from _why_refused(fleet, node)
        yield Finding(
            "walreceiver-down",
            Severity.CRITICAL,
            node.name,
            said + _behind(fleet, node),
            (
                Step("journalctl -u 'postgresql*' -n 50", node.name, "its log says why, at every attempt"),
                *follow(fleet.primary, node, "if it looks for its primary elsewhere"),
            ),
        )


def missing_senders(fleet: Fleet) -> Iterator[Finding]:
    """Replicas that the primary does not send to."""
    primary = fleet.primary
    if primary is None:
        return
    for node in fleet.standbys:
        if node.knows_receiver and not node.receives and not fleet.sender_of(node):
            yield _no_walsender(primary, node.name)
    for seen in fleet.blocked:
        if not seen.configured_primary and not fleet.sender_may_be(seen):
            yield _no_walsender(primary, seen.name)


def upstreams(fleet: Fleet) -> Iterator[Finding]:
    """Standbys that follow another server than the primary."""
    primary = fleet.primary
    for node in fleet.standbys:
        found, receiver = fleet.sender_of(node), node.receiver
        if primary is None or receiver is None or not node.receives:
            continue
        if found and found[0].is_standby:
            yield Finding(
                "cascading",
                Severity.NOTICE,
                node.name,
                f"it follows {found[0].name}, which is a standby itself",
                follow(primary, node, "to have it follow the primary itself"),
                figures={"upstream": found[0].name},
            )
        elif not found and receiver.sender_host:
            yield Finding(
                "upstream-unknown",
                Severity.NOTICE,
                node.name,
                f"it streams from {receiver.sender_host}:{receiver.sender_port}",
                follow(primary, node, "if that is not where it should look"),
                figures={"host": receiver.sender_host, "port": receiver.sender_port},
            )


def _why_refused(fleet: Fleet, node: Node) -> Iterator[Finding]:
    """The slot that it names is not there, or lost; or the log it needs is gone."""
    primary = fleet.primary
    if primary is None or node.facts.origin is None:
        return
    wanted = node.facts.origin.slot
    if wanted and wanted not in {slot.name for slot in primary.facts.slots}:
        yield Finding(
            "slot-missing",
            Severity.CRITICAL,
            node.name,
            f"primary_slot_name={wanted}; {primary.name} has {_names(primary)}",
            (
                *_its_own(primary, node),
                Step(
                    f"select pg_create_physical_replication_slot({literal(wanted)}, true);",
                    primary.name,
                    "to make the slot that it asks for",
                ),
            ),
            figures={"slot": wanted},
        )
    elif not wanted and _is_gone(primary, node):
        assert primary.facts.wal
        yield Finding(
            "wal-removed",
            Severity.CRITICAL,
            node.name,
            f"the oldest file of {primary.name} is {primary.facts.wal.oldest_file}; this standby needs an older one",
            (copy_anew(primary, node.name),),
            figures={"oldestFile": primary.facts.wal.oldest_file},
        )


def _its_own(primary: Node, node: Node) -> Iterator[Step]:
    """To have it use the slot that bears its name and that nobody uses."""
    for slot in primary.facts.slots:
        if not slot.active and is_named_for(slot.name, node.name):
            yield Step(
                f"alter system set primary_slot_name = {literal(slot.name)};",
                node.name,
                "if this is its slot",
            )
            yield Step("select pg_reload_conf(); -- before PostgreSQL 13: restart", node.name)


def _is_gone(primary: Node, node: Node) -> bool:
    """Whether the primary's oldest file begins behind what the standby needs next."""
    wal, segment_bytes = primary.facts.wal, primary.facts.number("wal_segment_size")
    positions = node.facts.last.positions
    has = max(positions.received or 0, positions.replayed or 0)
    if not wal or not wal.oldest_file or not segment_bytes or not has:
        return False
    high, low = int(wal.oldest_file[8:16], 16), int(wal.oldest_file[16:24], 16)
    return has < high * SEGMENTS_BYTES + low * segment_bytes


def _names(primary: Node) -> str:
    return ", ".join(slot.name for slot in primary.facts.slots) or "no slot"


def _behind(fleet: Fleet, node: Node) -> str:
    flushed = fleet.primary.facts.last.positions.flushed if fleet.primary else None
    replayed = node.facts.last.positions.replayed
    if flushed is None or replayed is None or flushed <= replayed:
        return ""
    return f", and it is {size(flushed - replayed)} behind {fleet.primary.name if fleet.primary else ''}"


def _no_walsender(primary: Node, name: str) -> Finding:
    senders = primary.facts.last.senders
    told = ", ".join(sender.application_name for sender in senders) or "nobody"
    return Finding(
        "no-walsender",
        Severity.CRITICAL,
        primary.name,
        f"it sends to {told}; {counted(len(senders), 'walsender')}, none for {name}",
        (Step("select application_name, client_addr, state from pg_stat_replication;", primary.name),),
        concerns=name,
        figures={"walsenders": len(senders)},
    )
