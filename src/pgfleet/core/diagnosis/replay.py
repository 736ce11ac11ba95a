"""What keeps a replica from showing what it has received."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet, Node
from pgfleet.core.words import counted, size, span

CONFLICTS = frozenset(
    ("RecoveryConflictSnapshot", "RecoveryConflictTablespace", "BufferPin", "relation", "BufferCleanup")
)
"""What the startup process waits for, by `wait_event`, while a statement stands in its way."""

NOT_BELOW = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)
"""Settings that a standby must have at least as high as its primary."""


def settings_below(fleet: Fleet) -> Iterator[Finding]:
    """Settings of a standby that are below the primary's."""
    primary = fleet.primary
    for node in fleet.standbys:
        below = [name for name in NOT_BELOW if primary and _is_below(node, primary, name)]
        if not below or primary is None:
            continue
        told = "; ".join(
            f"{name} is {node.facts.text(name)}, on {primary.name} {primary.facts.text(name)}"
            for name in below
        )
        yield Finding(
            "setting-below-primary",
            Severity.CRITICAL,
            node.name,
            told,
            (
                *(
                    Step(f"alter system set {name} = {primary.facts.text(name)};", node.name)
                    for name in below
                ),
                Step("systemctl restart postgresql", node.name),
            ),
            figures={name: node.facts.number(name) for name in below},
        )


def paused(fleet: Fleet) -> Iterator[Finding]:
    """Standbys whose replay was paused."""
    for node in fleet.standbys:
        positions = node.facts.last.positions
        if positions.pause_state in ("paused", "pause requested"):
            waiting = (positions.received or 0) - (positions.replayed or 0)
            yield Finding(
                "replay-paused",
                Severity.CRITICAL if waiting > 0 else Severity.WARNING,
                node.name,
                f"its replay is {positions.pause_state}; {size(max(0, waiting))} wait to be replayed",
                (Step("select pg_wal_replay_resume();", node.name),),
                figures={"waitingBytes": max(0, waiting)},
            )


def delayed(fleet: Fleet) -> Iterator[Finding]:
    """Standbys that replay late because they are told to."""
    for node in fleet.standbys:
        delay_s = (node.facts.number("recovery_min_apply_delay") or 0) / 1000
        if delay_s <= 0:
            continue
        never = delay_s > fleet.snapshot.max_lag_s
        served = (
            f"; reads take replicas up to {fleet.snapshot.max_lag_s:g} s late, so never this one"
            if never
            else ""
        )
        yield Finding(
            "apply-delay",
            Severity.WARNING if never else Severity.NOTICE,
            node.name,
            f"recovery_min_apply_delay is {span(delay_s)}{served}",
            (
                Step("alter system set recovery_min_apply_delay = 0;", node.name),
                Step("select pg_reload_conf();", node.name),
            ),
            figures={"delaySeconds": delay_s},
        )


def waiting(fleet: Fleet) -> Iterator[Finding]:
    """Standbys whose replay waits for a statement."""
    for node in fleet.standbys:
        event = node.facts.use.replay_waits_for if node.facts.use else None
        blockers = [session.pid for session in node.facts.sessions]
        if event not in CONFLICTS or (node.facts.server.reads_stats and not blockers):
            continue  # it goes on with its next look
        bound_ms = node.facts.number("max_standby_streaming_delay")
        bound = "for ever" if bound_ms == -1 else f"for up to {span((bound_ms or 0) / 1000)}"
        yield Finding(
            "replay-waits",
            Severity.WARNING,
            node.name,
            f"the startup process waits in {event}, {bound}; {_told(node, blockers)}",
            (
                Step(
                    "select pid, usename, now() - xact_start as since, query from pg_stat_activity"
                    " where xact_start is not null order by xact_start;",
                    node.name,
                ),
                *(
                    Step(f"select pg_terminate_backend({pid});", node.name, "if it may end")
                    for pid in blockers[:1]
                ),
                *_feedback(node),
            ),
            figures={"waitEvent": event, "openTransactions": len(blockers)},
        )


def conflicts(fleet: Fleet) -> Iterator[Finding]:
    """Statements that replay cancelled: a warning while it goes on."""
    for node in fleet.standbys:
        total, before = node.facts.last.conflicts, node.facts.first.conflicts
        if not total:
            continue
        now = total - (before or 0)
        yield Finding(
            "query-conflicts",
            Severity.WARNING if now else Severity.NOTICE,
            node.name,
            f"{total} since the statistics began, {now} while we looked",
            (
                Step("select * from pg_stat_database_conflicts;", node.name, "which kind?"),
                *_feedback(node),
            ),
            figures={"total": total, "now": now},
        )


def unbounded_wait(fleet: Fleet) -> Iterator[Finding]:
    """Standbys that wait for any statement for ever."""
    for node in fleet.standbys:
        if node.facts.number("max_standby_streaming_delay") == -1:
            yield Finding(
                "replay-wait-unbounded",
                Severity.NOTICE,
                node.name,
                "max_standby_streaming_delay is -1",
                (
                    Step("alter system set max_standby_streaming_delay = '30s';", node.name),
                    Step("select pg_reload_conf();", node.name),
                ),
            )


def _is_below(node: Node, primary: Node, name: str) -> bool:
    mine, its = node.facts.number(name), primary.facts.number(name)
    return mine is not None and its is not None and mine < its


def _told(node: Node, blockers: list[int]) -> str:
    if not node.facts.server.reads_stats:
        return "who stands in its way is not shown to this role"
    oldest = node.facts.sessions[0]
    return f"open: {counted(len(blockers), 'transaction')}, pid {oldest.pid} for {span(oldest.transaction_s)}"


def _feedback(node: Node) -> tuple[Step, ...]:
    if node.facts.text("hot_standby_feedback") == "on":
        return ()
    return (
        Step(
            "alter system set hot_standby_feedback = on;",
            node.name,
            "if the primary may keep dead rows for as long as statements run here",
        ),
        Step("select pg_reload_conf();", node.name),
    )
