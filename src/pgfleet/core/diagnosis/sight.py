"""What could not be judged, told so that silence is not taken for health."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet
from pgfleet.core.diagnosis.rows import Server
from pgfleet.core.diagnosis.snapshot import LOST, NO_ANSWER, NodeSeen
from pgfleet.core.diagnosis.steps import APPLICATION
from pgfleet.core.words import counted, identifier


def privileges(fleet: Fleet) -> Iterator[Finding]:
    """Nodes whose role does not see all."""
    for node in fleet.nodes:
        hidden = _hidden(node.facts.server)
        if hidden and not node.facts.server.is_aurora:
            yield Finding(
                "privileges-missing",
                Severity.NOTICE,
                node.name,
                f"{node.facts.server.role} does not see {', '.join(hidden)}",
                (
                    Step(
                        f"grant pg_monitor to {identifier(node.facts.server.role)};",
                        "the primary",
                        "as a superuser",
                    ),
                ),
            )


def unanswered(fleet: Fleet) -> Iterator[Finding]:
    """Nodes that answered only a part, for another reason than privileges."""
    for seen in fleet.snapshot.nodes:
        if seen.facts and seen.unseen:
            told = "; ".join(f"{unseen.what}: {unseen.why}" for unseen in seen.unseen)
            yield Finding(
                "not-seen",
                Severity.WARNING,
                seen.name,
                told,
                (_ask_again(seen),),
            )


def fleet_as_such(fleet: Fleet) -> Iterator[Finding]:
    """What the settings themselves leave out."""
    snapshot, primary = fleet.snapshot, fleet.configured_primary
    if len(snapshot.nodes) > 1 and not snapshot.use_replicas:
        yield Finding(
            "replicas-disabled",
            Severity.NOTICE,
            primary.name,
            f"{counted(len(snapshot.nodes) - 1, 'replica')} configured",
            (Step("export USE_READ_REPLICAS=true", APPLICATION),),
        )
    if snapshot.discovery_trouble:
        yield Finding(
            "discovery-silent",
            Severity.WARNING,
            primary.name,
            snapshot.discovery_trouble,
            (Step("pgfleet status", APPLICATION, "it warns for as long as discovery tells nothing"),),
        )


def special_nodes(fleet: Fleet) -> Iterator[Finding]:
    """Nodes of a kind that is judged by less."""
    for node in fleet.nodes:
        if node.seen.shared_endpoint:
            yield Finding(
                "shared-endpoint",
                Severity.NOTICE,
                node.name,
                f"{node.seen.address} fronts several servers",
                (Step("pgfleet replica list", APPLICATION, "to list the servers one by one instead"),),
            )
        if node.facts.server.is_aurora:
            yield Finding(
                "aurora",
                Severity.NOTICE,
                node.name,
                "it has the function aurora_version()",
                (Step("select * from aurora_replica_status();", node.name, "its own account of its lag"),),
            )


def _ask_again(seen: NodeSeen) -> Step:
    """With more time, once more, or with more rights."""
    if any(unseen.why == NO_ANSWER for unseen in seen.unseen) or seen.facts is None:
        return Step("pgfleet doctor --timeout-s 10", APPLICATION, "to give it more time")
    if any(unseen.why.startswith(LOST) for unseen in seen.unseen):
        return Step("pgfleet doctor", APPLICATION, "again: it hung up amid the questions")
    return Step(f"grant pg_monitor to {identifier(seen.facts.server.role)};", "the primary", "as a superuser")


def _hidden(server: Server) -> list[str]:
    hidden = []
    if not server.reads_stats:
        hidden.append("sessions, receivers and the states of replication")
    if not server.reads_settings:
        hidden.append("where its files are and whom it follows")
    if not server.lists_wal:
        hidden.append("the files of its log")
    return hidden
