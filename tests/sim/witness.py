"""Watches a history and holds the router to its promises, by what really happened in the cluster.

It knows what the router was told and when, since every answer passes it; of what the router made of that it asks as
little as it can.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pgfleet.core.explain import Explanation
from pgfleet.testing.simulated.cluster import Cluster
from pgfleet.testing.simulated.server import Server
from pgfleet.testing.simulated.session import Seen, Session
from pgfleet.testing.simulated.wal import Kind, Record
from tests.sim.invariants import Invariant, Violation

PANIC_SHARE = 0.5
EJECTED = ("EJECTED", "SLOW", "OUTLIER")
"""Reasons by which a node that answers is left out on suspicion alone."""

SETTLED_S = 3.0
"""A fleet that has been well for this long is known to be."""


class Told(NamedTuple):
    """A server said that it takes writes, or replays, on this timeline."""

    at_s: float
    timeline: int
    server: Server


@dataclass
class Witness:
    """One client's."""

    cluster: Cluster
    client: str
    checks: frozenset[Invariant] = frozenset(Invariant)
    steps: list[str] = field(default_factory=list)
    _primaries: list[Told] = field(default_factory=list)
    """Each the first to tell a timeline above those before."""
    _replicas: list[Told] = field(default_factory=list)
    _done: Counter[Hashable] = field(default_factory=Counter)
    _commits: dict[Hashable, Record] = field(default_factory=dict)
    _acknowledged: defaultdict[Hashable, list[Record]] = field(default_factory=lambda: defaultdict(list))
    _lives: dict[tuple[str, int], float] = field(default_factory=dict)
    """When each life of each server was first told of."""
    _well: dict[str, tuple[float, object]] = field(default_factory=dict)
    """Who is well, since when, and in what part."""
    _split: bool = False
    failed: Violation | None = None

    def __post_init__(self) -> None:
        self.cluster.listeners.append(self._heard)

    def note(self, *what: object) -> None:
        """A line of the history."""
        self.steps.append(f"{self.cluster.now_s - 1000:9.4f}  {' '.join(map(str, what))}")

    def broken(self, invariant: Invariant, detail: str) -> None:
        """The first broken promise ends the history."""
        if invariant in self.checks and self.failed is None:
            self.note("BROKEN", invariant.name, detail)
            self.failed = Violation(invariant, detail)

    # what passes by

    def _heard(self, what: str, client: str, server: Server, detail: Any) -> None:
        if client == self.client:
            hear: Callable[[Server, Any], None] = getattr(self, f"_{what}")
            hear(server, detail)

    def _told(self, server: Server, row: Any) -> None:
        if row[2] == server.started_text:
            self._lives.setdefault((server.name, server.life), self.cluster.now_s)
        standby, timeline = row[0], row[4] if row[0] else int(row[5], 16)
        told = self._replicas if standby else self._primaries
        known = told[-1].timeline if told else 0
        rival = not standby and told and timeline == known and server is not told[-1].server
        if timeline > known or rival:
            told.append(Told(self.cluster.now_s, timeline, server))
            self.note("told", server.name, "standby" if standby else "primary", "of timeline", timeline)

    def _sent(self, server: Server, session: Session) -> None:
        if not server.writable:
            return
        now_s, lent_s = self.cluster.now_s, session.in_use_since_s or 0.0
        if fence := self._above(self._primaries, server.timeline, now_s):
            invariant = Invariant.FENCED if fence.at_s < lent_s else Invariant.SEVERED
            self.broken(
                invariant, f"{server.name} on {server.timeline}, {fence.timeline} told at {fence.at_s}"
            )
        elif fence := self._above(self._replicas, server.timeline, lent_s):
            self.broken(Invariant.FENCED_BY_REPLICA, f"{server.name}, {fence.timeline} told at {fence.at_s}")

    @staticmethod
    def _above(told: list[Told], timeline: int, before_s: float) -> Told | None:
        return next((t for t in told if t.timeline > timeline and t.at_s < before_s), None)

    def _committed(self, server: Server, commit: Record) -> None:
        assert isinstance(commit.key, tuple)
        for key in commit.key:
            self._done[key] += 1
            self._commits[key] = commit
            if self._done[key] > 1:
                self.broken(Invariant.ONCE, f"{key} on {server.name}")

    # writes

    def acknowledged(self, key: Hashable, org_id: Hashable) -> None:
        """The caller was told that this is done."""
        if key not in self._commits:
            self.broken(Invariant.DONE, str(key))
        else:
            self._acknowledged[org_id].append(self._commits[key])

    def acknowledged_by(self, org_id: Hashable) -> tuple[Record, ...]:
        """What a read that begins now must see."""
        return tuple(self._acknowledged[org_id])

    # reads

    def read(self, seen: Seen, since_s: float, covers_s: float, own: tuple[Record, ...]) -> None:
        """A read that began at `since_s` promised all that was visible at `covers_s`, and these writes."""
        logs = self._references(since_s)
        if not logs or self._is_ahead_unseen(seen, logs):
            return
        missing = [self._missing(seen.log, log, covers_s) for log in logs]
        if all(missing):
            oldest = min(m.visible_s for m in missing if m)
            detail = f"{seen.server.name} lacks {missing[0] and missing[0].key} of {oldest - 1000:.4f}"
            self.broken(Invariant.BOUND, f"{detail}, promised {covers_s - 1000:.4f}")
        for commit in own:
            self._check_kept(commit, seen, logs, Invariant.OWN_WRITES)

    def read_in_session(
        self, seen: Seen, since_s: float, own: Sequence[Record], shown: Sequence[Record]
    ) -> None:
        """A read that began at `since_s` in a session that has written `own` before, and has seen `shown`."""
        logs = self._references(since_s)
        if not logs or self._is_ahead_unseen(seen, logs):
            return
        for commit in own:
            self._check_kept(commit, seen, logs, Invariant.SESSION_WRITES)
        for log in shown:
            for record in seen.log.lacks(log):
                if record.kind is Kind.COMMIT:
                    self._check_kept(record, seen, logs, Invariant.MONOTONIC)

    def _check_kept(self, commit: Record, seen: Seen, logs: list[Record], invariant: Invariant) -> None:
        """What no failover has lost must be there."""
        if all(commit.is_in(log) for log in logs) and not commit.is_in(seen.log):
            self.broken(invariant, f"{seen.server.name} lacks {commit.key}")

    def commit_of(self, key: Hashable) -> Record:
        """That of an acknowledged write."""
        return self._commits[key]

    @staticmethod
    def _is_ahead_unseen(seen: Seen, logs: list[Record]) -> bool:
        """A role without pg_monitor learns late that a standby has gone over to a primary of which we know nothing.

        All that such a standby lacks is what that failover lost.
        """
        return not seen.server.shows_receiver and all(seen.log.timeline > log.timeline for log in logs)

    @staticmethod
    def _missing(have: Record, log: Record, covers_s: float) -> Record | None:
        late = (r for r in have.lacks(log) if r.visible_s <= covers_s)
        return min(late, key=lambda record: record.visible_s, default=None)

    def _references(self, since_s: float) -> list[Record]:
        """The logs against which a read is held: of the newest primary told before it began, or of one told since.

        None once two primaries had the same timeline: a standby of the one looks like one of the other.
        """
        before = [t for t in self._primaries if t.at_s < since_s]
        newest = max((t.timeline for t in before), default=0)
        told = [
            *(t for t in before if t.timeline == newest),
            *(t for t in self._primaries if t.at_s >= since_s),
        ]
        return [] if self._was_split() else [t.server.log_on(t.timeline) for t in told]

    def _was_split(self) -> bool:
        timelines = Counter(s.timeline for s in self.cluster.servers.values() if not s.in_recovery)
        self._split = self._split or max(timelines.values(), default=0) > 1
        return self._split

    # who is well

    def look(self) -> None:
        """To be called before and after everything that happens to the cluster."""
        for name, server in self.cluster.servers.items():
            part = (server.life, server.in_recovery, server.upstream)
            if not self._is_well(server):
                self._well.pop(name, None)
            elif name not in self._well or self._well[name][1] != part:
                self._well[name] = (self.cluster.now_s, part)

    def _is_well(self, server: Server) -> bool:
        quick = not (server.work_s or server.replay_delay_s or server.replay_paused or server.frozen)
        reachable = server.up and self.cluster.link(self.client, server.name).is_well
        return quick and reachable and (server.is_fed() if server.in_recovery else True)

    def refused(self, why: str) -> None:
        """A plain read found nobody. Rightly, if no replica has been well for a while together with its primary."""
        since_s = self.cluster.now_s - SETTLED_S
        well = {name for name, (at_s, _) in self._well.items() if at_s <= since_s}
        leader = max(
            (s for s in self.cluster.servers.values() if not s.in_recovery),
            key=lambda s: s.timeline,
            default=None,
        )
        for name in well:
            server = self.cluster.servers[name]
            if leader and leader.name in well and server.upstream is leader and not self._was_split():
                self.broken(Invariant.NEEDLESS, f"{name} is well; {why}")

    # what the router says

    def explained(self, explanation: Explanation) -> None:
        """Every node is a candidate or has a reason, and not too many are out on suspicion."""
        for node in explanation.nodes:
            if not node.candidate and not node.reason:
                self.broken(Invariant.REASONS, f"{node.name} is left out")

    def ejected(self, reasons: list[str]) -> None:
        """The names of the reasons for which replicas are left out; one that serves has an empty one."""
        out = sum(any(word in reason for word in EJECTED) for reason in reasons)
        if out > (1 - PANIC_SHARE) * len(reasons):
            self.broken(Invariant.PANIC_SHARE, f"{out} of {len(reasons)}")

    def lent(self, session: Session, borrower: str) -> None:
        """Nobody else has it, and it is as new."""
        if session.borrower or session.dirty or session.has_pending:
            self.broken(Invariant.CLEAN, f"{session.server.name}'s {session.serial} is {session.borrower}'s")
        server, now_s = session.server, self.cluster.now_s
        first, session.was_lent = not session.was_lent, True
        if not first and any(
            self._lives.get((server.name, n), now_s) < now_s for n in range(session.life + 1, server.life + 1)
        ):
            self.broken(Invariant.OLD_LIFE, f"{server.name}'s {session.serial}")
        session.borrower = borrower
        session.in_use_since_s = session.in_use_since_s or self.cluster.now_s
