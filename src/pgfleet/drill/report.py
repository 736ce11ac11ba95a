"""From calls to figures: what failed, how long nobody was answered, who waited longest, how stale the reads were."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil, inf

from pgfleet.drill.calls import Call, Event, Kind, Record

LATE_S = 1.0
"""A call that is answered later than this after it was due does not count as good."""

READS = (Kind.FETCH, Kind.BLOCK, Kind.BOUNDED)


class View:
    """Some of the calls, in the order in which they ended."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.calls = sorted(calls, key=lambda call: call.ended_s)

    def of(self, *kinds: Kind) -> View:
        """Those of these kinds."""
        return self.where(lambda call: call.kind in kinds)

    def where(self, wanted: Callable[[Call], bool]) -> View:
        """Those that are wanted."""
        return View(filter(wanted, self.calls))

    def due(self, start_s: float, end_s: float = inf) -> View:
        """Those that were due from one moment until before another."""
        return self.where(lambda call: start_s <= call.due_s < end_s)

    @property
    def answered(self) -> list[Call]:
        """Those that succeeded."""
        return [call for call in self.calls if call.answer]

    @property
    def failed(self) -> list[Call]:
        """Those that did not."""
        return [call for call in self.calls if not call.answer]

    @property
    def good_share(self) -> float | None:
        """The part that was answered within `LATE_S` of when it was due. None: there were none."""
        good = sum(call.answer is not None and call.took_s <= LATE_S for call in self.calls)
        return good / len(self.calls) if self.calls else None

    @property
    def longest_wait_s(self) -> float:
        """Of one caller, from when a call was due to its success, or to that of his next with any. Infinite: never."""
        return max((wait_s for caller in self._callers() for wait_s in _waits_s(caller)), default=0.0)

    def longest_gap_s(self, start_s: float, end_s: float) -> float:
        """The longest time within these moments in which nobody was answered."""
        ends = [call.ended_s for call in self.answered if start_s < call.ended_s < end_s]
        return max(later - earlier for earlier, later in pairwise([start_s, *ends, end_s]))

    def percentile_s(self, percent: float) -> float | None:
        """How long so many of a hundred answered calls took at most. None: there were none."""
        taken_s = sorted(call.took_s for call in self.answered)
        return taken_s[max(0, ceil(len(taken_s) * percent / 100) - 1)] if taken_s else None

    def by_node(self) -> Counter[str]:
        """How many calls each node answered."""
        return Counter(call.answer.node for call in self.calls if call.answer)

    def _callers(self) -> Iterable[list[Call]]:
        callers: dict[tuple[Kind, int], list[Call]] = {}
        for call in self.calls:
            callers.setdefault((call.kind, call.caller), []).append(call)
        return callers.values()


def _waits_s(calls: list[Call]) -> Iterator[float]:
    wanted_s: float | None = None
    for call in calls:
        wanted_s = call.due_s if wanted_s is None else wanted_s
        if call.answer:
            yield call.ended_s - wanted_s
            wanted_s = None
    if wanted_s is not None:
        yield inf


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Errors of one class."""

    kind: Kind
    error: str
    count: int
    first: str
    """What the first of them said."""


def errors(calls: Iterable[Call]) -> list[ErrorCount]:
    """The failed calls by what failed and how, most of them first."""
    failed: dict[tuple[Kind, str], list[Call]] = {}
    for call in calls:
        if not call.answer:
            failed.setdefault((call.kind, call.error), []).append(call)
    counts = [ErrorCount(*key, len(found), found[0].message) for key, found in failed.items()]
    return sorted(counts, key=lambda found: -found.count)


# what became of the nodes


def since_broken(record: Record, *kinds: Kind) -> View:
    """What was due from the fault on, whatever was mended since."""
    return View(record.calls).of(*kinds).due(record.broken_s, record.ended_s)


def while_broken(record: Record, *kinds: Kind) -> View:
    """What was due while the fault lasted."""
    return View(record.calls).of(*kinds).due(record.broken_s, record.mended_s)


def gap_s(record: Record, kind: Kind) -> float:
    """The longest time without an answer since the fault, beyond the distance from one call to the next."""
    group = record.group(kind)
    pace_s = 1 / group.per_s if group else 0.0
    longest_s = View(record.calls).of(kind).longest_gap_s(record.broken_s, record.ended_s)
    return max(0.0, longest_s - pace_s)


def out_after_s(record: Record, node: str) -> float | None:
    """How long after the fault the router still offered the node. Infinite: all the time. None: nobody looked."""
    looks = [look for look in record.looks if record.broken_s <= look.at_s]
    if not looks:
        return None
    left = (look.at_s for look in looks if node not in look.candidates)
    return next(left, inf) - record.broken_s


def back_after_s(record: Record, node: str) -> float:
    """From the moment that the node is well again to its first answer. Infinite: it gave none."""
    reads = View(record.calls).of(*READS).where(lambda call: call.began_s >= record.struck_s)
    after = (call for call in reads.calls if call.node == node and call.ended_s >= record.mended_s)
    return next((call.ended_s - record.mended_s for call in after), inf)


def rate_kept(record: Record, kind: Kind) -> float | None:
    """The calls that succeeded during the fault, of those that were due in it. None: there are no such callers."""
    group = record.group(kind)
    if group is None or record.mended_s <= record.broken_s:
        return None
    calls = View(record.calls).of(kind).answered
    done = sum(record.broken_s <= call.ended_s < record.mended_s for call in calls)
    return done / (group.per_s * (record.mended_s - record.broken_s))


def resumed_after_s(record: Record) -> float | None:
    """From the promotion to the first write that was committed on another node. None: nobody was promoted."""
    if record.promoted_s is None:
        return None
    writes = View(record.calls).of(Kind.WRITE).answered
    before = {call.node for call in writes if call.ended_s < record.broken_s}
    after = (call.ended_s for call in writes if call.node not in before)
    return max(0.0, next(after, inf) - record.promoted_s)


def answered_by_returned(record: Record, *kinds: Kind) -> int | None:
    """How many such calls the old primary answered after its return. None: none returned."""
    if record.returned is None:
        return None
    view = View(record.calls).of(*kinds)
    return sum(call.node == record.returned and call.began_s >= record.mended_s for call in view.calls)


# how stale the reads were


class Commits:
    """Which numbers were committed, and when their writers knew. Numbers that did not survive count for nothing."""

    def __init__(self, calls: Iterable[Call], kept: frozenset[int] | None = None) -> None:
        known = sorted((number, at_s) for number, at_s in _committed(calls) if kept is None or number in kept)
        self._numbers = [number for number, _ in known]
        latest_first = accumulate((at_s for _, at_s in reversed(known)), min)
        self._earliest_from = list(latest_first)[::-1]

    def age_s(self, read: Call) -> float:
        """How long before the read began somebody knew of a commit that it missed: it is at least so stale."""
        seen = (read.answer.number or 0) if read.answer else 0
        first_missed = bisect_right(self._numbers, seen)
        if not read.answer or first_missed == len(self._numbers):
            return 0.0
        return max(0.0, read.began_s - self._earliest_from[first_missed])


def _committed(calls: Iterable[Call]) -> Iterator[tuple[int, float]]:
    for call in calls:
        if call.kind is Kind.WRITE and call.answer and call.answer.number is not None:
            yield call.answer.number, call.ended_s


def stalest_read_s(record: Record) -> float:
    """How stale the stalest read was at least."""
    commits = Commits(record.calls, record.kept_numbers)
    return max((commits.age_s(read) for read in View(record.calls).of(*READS).answered), default=0.0)


def too_stale(record: Record) -> int:
    """Reads that missed a commit older than their bound."""
    commits = Commits(record.calls, record.kept_numbers)
    reads = View(record.calls).of(*READS).answered
    return sum(commits.age_s(read) > record.bound_s for read in reads)


def lost_writes(record: Record) -> int | None:
    """Commits that were acknowledged, and are not there at the end. None: nobody looked."""
    if record.kept_numbers is None:
        return None
    return len({number for number, _ in _committed(record.calls)} - record.kept_numbers)


def told(record: Record) -> list[Event]:
    """What was done, by the seconds since the drill began."""
    return [Event(event.at_s - record.began_s, event.what) for event in record.events]
