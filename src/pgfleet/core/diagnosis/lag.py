"""How far a replica is behind, where on the way that arises, and when it will have caught up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet, Node
from pgfleet.core.diagnosis.rows import Sender
from pgfleet.core.lsn import Lsn, replayable
from pgfleet.core.words import shell, size, span

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
    behind_s: float
    """At most so long; at least so long when `since_unknown`."""
    since_unknown: bool
    """It has replayed no commit since it was started, so nothing tells how old its last one is."""
    stages: dict[str, int]
    """Bytes at each stage of the way; empty: the role does not see them."""
    written_per_s: float
    replayed_per_s: float

    @property
    def stands_still(self) -> bool:
        """It replays nothing of what there is."""
        return self.replayed_per_s == 0

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
        if lag is None or not _is_much(fleet, lag):
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
    had, has = _replayable(primary), node.facts.last.positions.replayed
    now, before = primary.facts.last.positions.flushed, node.facts.first.positions.replayed
    if had is None or has is None or now is None or before is None or has >= had:
        return None
    if node.facts.last == node.facts.first:
        return None  # one look tells no rate, and what is on its way from what waits
    found = fleet.sender_of(node)
    committed_s = _since_commit_s(primary, node)
    told_s = (found[1].replay_lag_s if found else None) or 0.0
    return Lag(
        now - has,
        max(told_s, _interval_s(node) if committed_s is None else committed_s),
        committed_s is None,
        _stages(now, found[1], node) if found and found[0] is primary else {},
        (now - had) / _interval_s(primary),
        (has - before) / _interval_s(node),
    )


def _stages(now: int, sender: Sender, node: Node) -> dict[str, int]:
    """The bytes on each part of the way. The replica's own word is newer than what its replies have told."""
    sent, mine = sender.sent, node.facts.last.positions
    if sent is None or sender.written is None or sender.flushed is None or sender.replayed is None:
        return {}
    replayed = max(sender.replayed, mine.replayed or 0)
    at_disk = max(sender.flushed, mine.received or 0, replayed)
    written = max(sender.written, at_disk)
    steps = {
        SENDER: now - sent,
        NETWORK: sent - written,
        FLUSH: written - at_disk,
        REPLAY: at_disk - replayed,
    }
    return {stage: max(0, bytes_) for stage, bytes_ in steps.items()}


def _replayable(primary: Node) -> int | None:
    """What the primary had at the first look. A page's header, which no standby replays by itself, does not count."""
    flushed, number = primary.facts.first.positions.flushed, primary.facts.number
    return (
        None
        if flushed is None
        else replayable(Lsn(flushed), number("wal_block_size"), number("wal_segment_size"))
    )


def _is_much(fleet: Fleet, lag: Lag) -> bool:
    """Late for seconds; or nobody knows for how long, and nothing of it is made up for."""
    return lag.behind_s >= fleet.thresholds.lag_warning_s or (lag.since_unknown and lag.stands_still)


def _since_commit_s(primary: Node, node: Node) -> float | None:
    """How old the last replayed commit is by the primary's clock, which stamped it; None: there is none."""
    committed_s = node.facts.last.positions.last_replayed_s
    if committed_s is None:
        return None
    return node.facts.last.asked_s + primary.facts.first.clock_offset_s - committed_s


def _interval_s(node: Node) -> float:
    return max(0.001, node.facts.last.asked_s - node.facts.first.asked_s)


def _told(lag: Lag) -> str:
    late = f"{'more than' if lag.since_unknown else 'up to'} {span(lag.behind_s)}, {size(lag.behind_bytes)} behind."
    rates = f"The primary writes {size(lag.written_per_s)}/s, it replays {size(lag.replayed_per_s)}/s"
    end = (
        "it does not catch up so" if lag.catch_up_s is None else f"it has caught up in {span(lag.catch_up_s)}"
    )
    return f"{late}{_arises(lag)} {rates}: {end}."


def _arises(lag: Lag) -> str:
    """Where, with the figures of the stages that hold anything."""
    if not lag.where:
        return ""
    stages = ", ".join(f"{stage} {size(count)}" for stage, count in lag.stages.items() if count)
    return f" It waits at the {lag.where} ({stages}): {_ADVICE[lag.where]}."


def _fix(fleet: Fleet, node: Node, lag: Lag) -> tuple[Step, ...]:
    assert fleet.primary
    look = Step(
        "select application_name, state, sent_lsn, write_lsn, flush_lsn, replay_lsn, replay_lag"
        " from pg_stat_replication;",
        fleet.primary.name,
    )
    steps = {
        SENDER: Step("sar -n DEV 1 5", fleet.primary.name, "is its network full?"),
        NETWORK: Step(f"ping -c 5 {shell(node.seen.hosts[0][0])}", fleet.primary.name, "is the way slow?"),
        FLUSH: Step("iostat -x 1 5", node.name, "is its disk busy?"),
        REPLAY: Step(
            "select pid, wait_event_type, wait_event from pg_stat_activity where backend_type = 'startup';",
            node.name,
            "what does replay wait for? Nothing: it is one CPU's work",
        ),
    }
    return (look, steps[lag.where]) if lag.where else (look,)
