"""What clients do that holds others up."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet, Node
from pgfleet.core.diagnosis.rows import Session
from pgfleet.core.words import counted, literal, span


def idle_transactions(fleet: Fleet) -> Iterator[Finding]:
    """The oldest transaction of each node that stands open and does nothing."""
    for node in fleet.nodes:
        idle = [s for s in node.facts.sessions if (s.state or "").startswith("idle in transaction")]
        worst = max(idle, key=lambda s: s.state_s, default=None)
        if worst and worst.state_s >= fleet.thresholds.idle_transaction_s:
            yield Finding(
                "idle-in-transaction",
                Severity.WARNING,
                node.name,
                f"{_named(worst)} has done nothing for {span(worst.state_s)}; {counted(len(idle), 'such session')}",
                (
                    *_look_and_end(node, worst),
                    Step(
                        "alter system set idle_in_transaction_session_timeout = '5min';",
                        node.name,
                        "for good",
                    ),
                ),
                figures={"pid": worst.pid, "idleSeconds": round(worst.state_s, 1), "sessions": len(idle)},
            )


def long_statements(fleet: Fleet) -> Iterator[Finding]:
    """The longest statement of each replica."""
    for node in fleet.standbys:
        active = [s for s in node.facts.sessions if s.state == "active"]
        worst = max(active, key=lambda s: s.statement_s, default=None)
        if worst and worst.statement_s >= fleet.thresholds.statement_s:
            yield Finding(
                "long-statement",
                Severity.NOTICE,
                node.name,
                f"{_named(worst)} runs for {span(worst.statement_s)};"
                f" hot_standby_feedback is {node.facts.text('hot_standby_feedback')}",
                _look_and_end(node, worst),
                figures={"pid": worst.pid, "seconds": round(worst.statement_s, 1)},
            )


def prepared_transactions(fleet: Fleet) -> Iterator[Finding]:
    """The oldest prepared transaction of the primary."""
    node = fleet.primary
    worst = max(node.facts.prepared, key=lambda p: p.age_s, default=None) if node else None
    if node and worst and worst.age_s >= fleet.thresholds.prepared_s:
        yield Finding(
            "prepared-transaction",
            Severity.WARNING,
            node.name,
            f"{worst.gid!r} was prepared {span(worst.age_s)} ago, {counted(worst.xmin_age, 'transaction')} back",
            (
                Step(f"commit prepared {literal(worst.gid)};", node.name, "if its coordinator decided so"),
                Step(f"rollback prepared {literal(worst.gid)};", node.name, "if not"),
            ),
            figures={"ageSeconds": round(worst.age_s, 1), "xminAge": worst.xmin_age},
        )


def held_xmin(fleet: Fleet) -> Iterator[Finding]:
    """The oldest snapshot that keeps dead rows on the primary, and whose it is."""
    node = fleet.primary
    age, told, fix = max(_holders(node), default=(0, "", ""))[:3] if node else (0, "", "")
    if node and age > fleet.thresholds.xmin_age:
        yield Finding(
            "xmin-held",
            Severity.WARNING,
            node.name,
            f"{told} holds a snapshot {age:,} transactions old",
            (Step(fix, node.name, "if it may end"),),
            figures={"xminAge": age},
        )


def _holders(node: Node) -> Iterator[tuple[int, str, str]]:
    """Who keeps dead rows: how many transactions back, in words, and what ends it."""
    for session in node.facts.sessions:
        yield session.xmin_age or 0, _named(session), f"select pg_terminate_backend({session.pid});"
    for prepared in node.facts.prepared:
        yield (
            prepared.xmin_age,
            f"prepared transaction {prepared.gid!r}",
            f"rollback prepared {literal(prepared.gid)};",
        )
    for slot in node.facts.slots:
        yield (
            slot.xmin_age or 0,
            f"slot {slot.name}",
            f"select pg_drop_replication_slot({literal(slot.name)});",
        )
    for sender in node.facts.last.senders:
        told = f"the standby {sender.application_name}, by hot_standby_feedback,"
        yield (
            sender.xmin_age or 0,
            told,
            "select pid, state, xact_start from pg_stat_activity; -- on that standby",
        )


def _named(session: Session) -> str:
    application = f" ({session.application_name})" if session.application_name else ""
    return f"pid {session.pid} of {session.role}{application}"


def _look_and_end(node: Node, session: Session) -> tuple[Step, ...]:
    return (
        Step(f"select state, query from pg_stat_activity where pid = {session.pid};", node.name),
        Step(f"select pg_terminate_backend({session.pid});", node.name, "if it may end"),
    )
