"""Whether a replica is fresh enough for one read."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from pgfleet.core.ground import Ground
from pgfleet.core.intent import ReadIntent, Seat
from pgfleet.core.lsn import Lsn
from pgfleet.core.node import Reason
from pgfleet.core.position import Watermark
from pgfleet.core.topology import NodeState, Topology

SAMPLE_LASTS_S = 1.0
"""How long a sample of the primary bounds how many bytes it is ahead."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh one read wants its replica, at one moment."""

    ground: Ground
    intent: ReadIntent
    bound_s: float
    now_s: float
    at_s: float
    """The moment that staleness is measured at."""
    takes_unknown: bool

    def lacks(self, node: NodeState, covered_s: float | None) -> Reason | None:
        """Why this node, which has replayed all of that moment, is not fresh enough; None: it is."""
        intent = self.intent
        if node.is_shared:  # each of its connections is asked; while a write is open, no replica will do
            return Reason.NOT_CAUGHT_UP if intent.not_before_s == inf else None
        if node.is_aurora and intent.sees_writes:
            return Reason.NOT_CAUGHT_UP  # nothing proves it there
        if intent.after is not None and not self.ground.has_reached(node, intent.after):
            return Reason.NOT_CAUGHT_UP
        if covered_s is None:
            return None if self._takes_unknown() else Reason.STALENESS_UNKNOWN
        if not _covers(node, intent, covered_s):
            return Reason.NOT_CAUGHT_UP
        if self.at_s - covered_s >= self.bound_s:
            return Reason.STALE
        return self._too_far(node, intent.max_lag_bytes)

    def _too_far(self, node: NodeState, most_bytes: int | None) -> Reason | None:
        """Whether the primary was further ahead when it was last asked. An old word of it bounds nothing now."""
        if most_bytes is None:
            return None
        history, seen = self.ground.topology.history, node.observation
        if history.last_asked_s is None or self.now_s - history.last_asked_s > SAMPLE_LASTS_S:
            return Reason.STALENESS_UNKNOWN
        stands = seen.replay_lsn if seen and seen.replay_lsn is not None else Lsn(0)
        return Reason.STALE if history.samples[-1].insert_lsn - stands > most_bytes else None

    def _takes_unknown(self) -> bool:
        """Nothing is known of it but that it follows our primary: what the read must see, it may not show."""
        wishes = self.intent
        if wishes.must_see:
            return False
        if wishes.takes_unknown is not None:
            return wishes.takes_unknown
        return self.takes_unknown and not wishes.is_strict


def shows(ground: Ground, intent: ReadIntent, node: NodeState) -> bool:
    """Whether this replica is known to have all that the read must see, fresh or not, in use or not."""
    seen = node.observation
    if seen is None or ground.foreign(node, seen) or ground.untimely(node, seen):
        return False
    if seen.is_aurora and intent.sees_writes:
        return False
    covered_s = ground.covered_s(node)
    reached = intent.after is None or ground.has_reached(node, intent.after)
    return reached and covered_s is not None and _covers(node, intent, covered_s)


def _covers(node: NodeState, intent: ReadIntent, covered_s: float) -> bool:
    """Whether a node that has replayed all of that moment has what the read's org and session must see."""
    if intent.not_before_s is not None and covered_s <= intent.not_before_s:
        return False
    return intent.seat is None or _shows_no_less(node, intent.seat, covered_s)


def _shows_no_less(node: NodeState, seat: Seat, covered_s: float) -> bool:
    """Whether it is the server that was read before, in the same life, or has replayed all that was seen there."""
    seen = node.observation
    same = seen is not None and (node.name, seen.incarnation) == (seat.name, seat.incarnation)
    return same or covered_s > seat.until_s


def behind_bytes(topology: Topology, node: NodeState, watermark: Watermark | None) -> int | None:
    """How much of the log a replica has still to replay until it has reached this position; None: not known."""
    seen = node.observation
    if watermark is None or seen is None or seen.replay_lsn is None or node.timeline != watermark.timeline:
        return None
    return max(0, watermark.lsn - seen.replay_lsn)
