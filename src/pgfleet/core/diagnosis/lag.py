"""How far a replica is behind, where on the way that arises, and when it will have caught up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet, Node
from pgfleet.core.diagnosis.snapshot import Sender
from pgfleet.core.diagnosis.words import size, span

SENDER, NETWORK, FLUSH, REPLAY = "sender", "network", "flush", "replay"

_ADVICE = {
    SENDER: "its primary has written what it has not sent: its network, its CPU, or a slow reader",
    NETWORK: "sent and not arrived: the way between them is slow or broken",
    FLUSH: "arrived and not on disk: the disk of the replica is slow",
    REPLAY: "on its disk and not replayed: replay is held up, or slower than the primary writes",
}


@dataclass(frozen=True, slots=True)
class Lag:
    """One replica's lag."""

    behind_bytes: int
    behind_s: float | None
    stages: dict[str, int]
    """Bytes at each stage of the way; empty: the role does not see them."""
    written_per_s: float
    replayed_per_s: float

    @property
    def where(self) -> str:
        """The stage with the most; empty: not known."""
        return max(self.stages, key=lambda stage: self.stages[stage]) if any(self.stages.values()) else ""

    @property
    def catch_up_s(self) -> float | None:
        """When it will have caught up at these rates; None: it falls further behind, or stands still."""
        gain = self.replayed_per_s - self.written_per_s
        return self.behind_bytes / gain if gain > 0 else None


def lagging(fleet: Fleet) -> Iterator[Finding]:
    """Replicas that have not replayed for seconds what the primary had."""
    for node in fleet.standbys:
        lag = lag_of(fleet, node)
        if lag is None or lag.behind_s is None or lag.behind_s < fleet.thresholds.lag_warning_s:
            continue
        critical = lag.behind_s >= fleet.thresholds.lag_critical_s
        yield Finding(
            "replica-lags",
            Severity.CRITICAL if critical else Severity.WARNING,
            node.name,
            _told(lag),
            _fix(fleet, node, lag),
            figures={
                "behindBytes": lag.behind_bytes,
                "behindSeconds": round(lag.behind_s, 3),
                "where": lag.where or None,
                "writtenBytesPerSecond": round(lag.written_per_s),
                "replayedBytesPerSecond": round(lag.replayed_per_s),
                "catchUpSeconds": None if lag.catch_up_s is None else round(lag.catch_up_s, 1),
            },
        )


def lag_of(fleet: Fleet, node: Node) -> Lag | None:
    """A standby's lag; None: it has replayed all that the primary had at the first look, or nothing is known."""
    primary = fleet.primary
    if primary is None:
        return None
    had, has = primary.facts.first.positions.flushed, node.facts.last.positions.replayed
    now, before = primary.facts.last.positions.flushed, node.facts.first.positions.replayed
    if had is None or has is None or now is None or before is None or has >= had:
        return None
    found = fleet.sender_of(node)
    return Lag(
        now - has,
        _seconds(primary, node, found[1] if found else None),
        _stages(now, found[1]) if found and found[0] is primary else {},
        (now - had) / _interval_s(primary),
        (has - before) / _interval_s(node),
    )


def _stages(flushed: int, sender: Sender) -> dict[str, int]:
    sent, written, at_disk, replayed = sender.sent, sender.written, sender.flushed, sender.replayed
    if sent is None or written is None or at_disk is None or replayed is None:
        return {}
    steps = {
        SENDER: flushed - sent,
        NETWORK: sent - written,
        FLUSH: written - at_disk,
        REPLAY: at_disk - replayed,
    }
    return {stage: max(0, bytes_) for stage, bytes_ in steps.items()}


def _seconds(primary: Node, node: Node, sender: Sender | None) -> float | None:
    """What the primary measured, or how old the last replayed commit is by the primary's clock: the larger."""
    committed_s = node.facts.last.positions.last_replayed_s
    mark = primary.facts.first
    # When the first look was taken the primary had more; how much older the last commit is says at least so much.
    by_commit = None if committed_s is None else node.facts.last.asked_s + mark.clock_offset_s - committed_s
    told = [value for value in (by_commit, sender.replay_lag_s if sender else None) if value is not None]
    return max(told) if told else None


def _interval_s(node: Node) -> float:
    return max(0.001, node.facts.last.asked_s - node.facts.first.asked_s)


def _told(lag: Lag) -> str:
    late = f"up to {span(lag.behind_s)}, " if lag.behind_s is not None else ""
    where = f" Most of it arises at the {lag.where}: {_ADVICE[lag.where]}." if lag.where else ""
    stages = ", ".join(f"{stage} {size(count)}" for stage, count in lag.stages.items())
    rates = f"The primary writes {size(lag.written_per_s)}/s, it replays {size(lag.replayed_per_s)}/s"
    end = (
        f": {span(lag.catch_up_s)} to catch up."
        if lag.catch_up_s is not None
        else ": it does not catch up so."
    )
    return f"{late}{size(lag.behind_bytes)}.{f' {stages}.' if stages else ''}{where} {rates}{end}"


def _fix(fleet: Fleet, node: Node, lag: Lag) -> tuple[Step, ...]:
    assert fleet.primary
    look = Step(
        "select application_name, state, sent_lsn, write_lsn, flush_lsn, replay_lsn, replay_lag"
        " from pg_stat_replication;",
        fleet.primary.name,
    )
    steps = {
        SENDER: Step("sar -n DEV 1 5", fleet.primary.name, "is its network full?"),
        NETWORK: Step(f"ping -c 5 {node.seen.hosts[0][0]}", fleet.primary.name, "is the way slow?"),
        FLUSH: Step("iostat -x 1 5", node.name, "is its disk busy?"),
        REPLAY: Step(
            "select pid, wait_event_type, wait_event from pg_stat_activity where backend_type = 'startup';",
            node.name,
            "what does replay wait for? Nothing: it is one CPU's work",
        ),
    }
    return (look, steps[lag.where]) if lag.where else (look,)
