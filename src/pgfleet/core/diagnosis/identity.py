"""Which server is what: roles, clusters, timelines, versions."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet, Node
from pgfleet.core.diagnosis.steps import APPLICATION, WHAT_IS_SET, conninfo, copy_anew, follow
from pgfleet.core.words import shell


def no_primary(fleet: Fleet) -> Iterator[Finding]:
    """Nothing can be written."""
    if fleet.primary:
        return
    seen = fleet.configured_primary
    best = max(fleet.standbys, key=lambda n: n.facts.last.positions.received or 0, default=None)
    promote = (
        (
            Step(
                "select pg_promote();",
                best.name,
                f"if {seen.name} will not come back: it has received the most",
            ),
        )
        if best
        else ()
    )
    look = (Step("systemctl status postgresql", seen.name),) if seen.blocked else (WHAT_IS_SET,)
    yield Finding(
        "no-primary",
        Severity.CRITICAL,
        seen.name,
        f"none of {len(fleet.snapshot.nodes)} nodes takes writes; {len(fleet.nodes)} answer",
        (*look, *promote),
        figures={"nodes": len(fleet.snapshot.nodes), "answering": len(fleet.nodes)},
    )


def two_primaries(fleet: Fleet) -> Iterator[Finding]:
    """Every server of this cluster that takes writes beside the primary."""
    primary = fleet.primary
    for node in fleet.primaries:
        if primary is None or node is primary or _cluster(node) != _cluster(primary):
            continue
        mine, its = node.facts.server.timeline, primary.facts.server.timeline
        yield Finding(
            "two-primaries",
            Severity.CRITICAL,
            node.name,
            f"it takes writes on timeline {mine}; {primary.name} does on timeline {its}",
            (
                Step(
                    'pg_ctl stop -m fast -D "$PGDATA"',
                    node.name,
                    "at once: what it takes from now on is lost",
                ),
                Step(
                    'pg_rewind --target-pgdata="$PGDATA" --write-recovery-conf'
                    f" --source-server={shell(conninfo(primary))}",
                    node.name,
                    "then, to make it a standby",
                ),
            ),
            figures={"timeline": mine, "primaryTimeline": its},
        )


def wrong_cluster(fleet: Fleet) -> Iterator[Finding]:
    """Nodes with another system identifier than the primary's."""
    reference = fleet.primary or next(iter(fleet.standbys), None)
    for node in fleet.nodes:
        if reference is None or node is reference or None in (_cluster(node), _cluster(reference)):
            continue
        if _cluster(node) != _cluster(reference):
            yield Finding(
                "wrong-cluster",
                Severity.CRITICAL,
                node.name,
                f"its system identifier is {_cluster(node)}, that of {reference.name} is {_cluster(reference)}",
                (
                    WHAT_IS_SET,
                    copy_anew(reference, node.name),
                ),
                figures={"systemId": _cluster(node), "primarySystemId": _cluster(reference)},
            )


def version_skew(fleet: Fleet) -> Iterator[Finding]:
    """Versions that are not the primary's."""
    primary = fleet.primary
    for node in fleet.nodes:
        if primary is None or node is primary:
            continue
        mine, its = node.facts.server, primary.facts.server
        if mine.version == its.version:
            continue
        minor = mine.major == its.major
        yield Finding(
            "version-skew",
            Severity.NOTICE if minor else Severity.CRITICAL,
            node.name,
            f"it runs PostgreSQL {mine.version_text}, {primary.name} runs {its.version_text}",
            (
                Step(
                    f"apt-get install --only-upgrade postgresql-{mine.major}",
                    _older(node, primary),
                    "the standbys first",
                )
                if minor
                else copy_anew(primary, node.name),
            ),
            figures={"version": mine.version_text, "primaryVersion": its.version_text},
        )


def same_server(fleet: Fleet) -> Iterator[Finding]:
    """Names that lead to a server which an earlier name leads to."""
    owners: dict[tuple[str, int], Node] = {}
    for node in fleet.nodes:
        server = node.facts.server
        if server.system_id is None or node.seen.shared_endpoint:
            continue
        owner = owners.setdefault((server.system_id, server.started_us), node)
        if owner is not node:
            yield Finding(
                "same-server",
                Severity.WARNING,
                node.name,
                f"{node.seen.address} and {owner.seen.address} ({owner.name}) are one server",
                (_forget(node),),
                figures={"other": owner.name},
            )


def moved_roles(fleet: Fleet) -> Iterator[Finding]:
    """What the settings call primary or replica, and what it is."""
    primary, wanted = fleet.primary, fleet.configured_primary
    if primary is None:
        return
    for node in fleet.nodes:
        if node.seen is wanted and node.is_standby:
            yield Finding(
                "roles-moved",
                Severity.WARNING,
                node.name,
                f"{node.seen.address} is a standby, {primary.seen.address} ({primary.name}) takes writes",
                _exchange(primary),
                figures={"primary": primary.name},
            )
    if primary.seen is not wanted and not _is_double(primary, fleet):
        yield Finding(
            "replica-is-primary",
            Severity.WARNING,
            primary.name,
            f"{primary.seen.address} takes writes on timeline {primary.facts.server.timeline}",
            _exchange(primary),
            figures={"timeline": primary.facts.server.timeline},
        )


def wrong_timeline(fleet: Fleet) -> Iterator[Finding]:
    """Standbys that stay where the primary has left."""
    primary = fleet.primary
    for node in fleet.standbys:
        if primary is None:
            return
        mine, its = _timeline(node), primary.facts.server.timeline
        if mine is None or its is None or mine >= its:
            continue
        yield Finding(
            "wrong-timeline",
            Severity.CRITICAL,
            node.name,
            f"it is on timeline {mine}, {primary.name} is on {its}",
            (
                *follow(
                    primary, node, "if it has not replayed more than the new primary had at its promotion"
                ),
                copy_anew(primary, node.name),
            ),
            figures={"timeline": mine, "primaryTimeline": its},
        )


def _timeline(node: Node) -> int | None:
    """The timeline that a standby is on. While it streams, its control file may be late: only the receiver counts."""
    receiver = node.receiver
    if receiver is not None and node.receives:
        return receiver.received_timeline
    return node.facts.server.timeline if node.knows_receiver else None


def _cluster(node: Node) -> str | None:
    return node.facts.server.system_id


def _is_double(primary: Node, fleet: Fleet) -> bool:
    """Whether the configured primary is this very server, under its own name."""
    server = primary.facts.server
    return any(
        n.seen.configured_primary and n.facts.server.started_us == server.started_us for n in fleet.nodes
    )


def _forget(node: Node) -> Step:
    """To have the settings name it no more, there where they do."""
    if node.seen.is_in_environment:
        return Step(f"unset {node.seen.variable}", APPLICATION, "or write another server's address into it")
    if node.seen.is_in_fleet_file:
        return Step(f"pgfleet replica remove {shell(node.name)}", APPLICATION)
    return WHAT_IS_SET


def _exchange(primary: Node) -> tuple[Step, ...]:
    return (
        Step(
            f"export DATABASE_URL=postgresql://...@{primary.seen.address}",
            APPLICATION,
            "and the old primary's address in the place of this replica's",
        ),
    )


def _older(node: Node, primary: Node) -> str:
    return node.name if node.facts.server.version < primary.facts.server.version else primary.name
