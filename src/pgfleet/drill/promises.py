"""What pgfleet promises with its defaults, each with a figure and the way it is judged: the part of
docs/guarantees.md that a machine can read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from pgfleet.drill.calls import Kind, Record
from pgfleet.drill.report import (
    READS,
    View,
    answered_by_returned,
    back_after_s,
    gap_s,
    out_after_s,
    rate_kept,
    resumed_after_s,
    since_broken,
    too_stale,
    while_broken,
)

Measure = Callable[[Record], float | None]
"""None: this run has nothing to measure it by."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One figure that a drill must reach."""

    name: str
    """Unique, as `kill.gap`: the drill that shows it, and what it is about."""
    what: str
    limit: float
    unit: str
    measure: Measure
    at_least: bool = False
    """The limit is a floor, not a ceiling."""

    def judge(self, record: Record) -> Verdict | None:
        """How this run was. None: it could not be measured."""
        value = self.measure(record)
        return None if value is None else Verdict(self, value)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise, and what was measured."""

    promise: Promise
    value: float

    @property
    def is_kept(self) -> bool:
        """Whether the figure is on the right side of its limit."""
        limit = self.promise.limit
        return self.value >= limit if self.promise.at_least else self.value <= limit


def judge(promises: Iterable[Promise], record: Record) -> list[Verdict]:
    """Those that could be measured."""
    return [verdict for promise in promises if (verdict := promise.judge(record))]


# how each is measured


def _errors(kind: Kind, record: Record) -> float | None:
    return len(since_broken(record, kind).failed) if record.group(kind) else None


def _blocks_not_in_flight(record: Record) -> float | None:
    """Blocks that failed although they began when the node was dead already."""
    failed = since_broken(record, Kind.BLOCK).failed
    return sum(call.began_s > record.struck_s for call in failed)


def _good_percent(record: Record) -> float | None:
    share = while_broken(record, Kind.FETCH).good_share
    return None if share is None else 100 * share


def _worst_wait_s(record: Record) -> float | None:
    return since_broken(record, Kind.FETCH).longest_wait_s


def _writes_percent(record: Record) -> float | None:
    share = rate_kept(record, Kind.WRITE)
    return None if share is None else 100 * share


def _out_s(record: Record) -> float | None:
    times = [out_s for node in record.victims if (out_s := out_after_s(record, node)) is not None]
    return max(times, default=None)


def _back_s(record: Record) -> float | None:
    return max((back_after_s(record, node) for node in record.victims), default=None)


def _answered_after_the_bound(record: Record) -> float | None:
    """Bounded reads that were answered when nobody could vouch for it any more."""
    late = View(record.calls).of(Kind.BOUNDED)
    gone_s = record.struck_s + record.bound_s
    return sum(gone_s < call.began_s and call.ended_s < record.mended_s for call in late.answered)


def _without_a_reason(record: Record) -> float | None:
    """Bounded reads that failed otherwise than by saying why no node takes them."""
    failed = since_broken(record, Kind.BOUNDED).failed
    return sum(call.error != "PrimaryUnavailable" for call in failed)


def _answered_by_returned(kinds: tuple[Kind, ...], record: Record) -> float | None:
    return answered_by_returned(record, *kinds)


def _slow_failed(record: Record) -> float | None:
    return len(View(record.calls).of(Kind.SLOW).failed)


def _fact(name: str, record: Record) -> float | None:
    return record.facts.get(name)


# how each is written down


def _no_errors(drill: str) -> Promise:
    return Promise(f"{drill}.errors", "errors through fetch", 0, "", partial(_errors, Kind.FETCH))


def _goodput(drill: str) -> Promise:
    what = "fetches answered within 1 s of their time"
    return Promise(f"{drill}.goodput", what, 99.5, "%", _good_percent, at_least=True)


def _worst(drill: str) -> Promise:
    return Promise(f"{drill}.worst", "the longest wait of a caller of fetch", 1.0, "s", _worst_wait_s)


def _out(drill: str) -> Promise:
    return Promise(f"{drill}.out", "out of the rotation after", 1.0, "s", _out_s)


def _fresh(drill: str) -> Promise:
    return Promise(f"{drill}.stale", "reads staler than their bound", 0, "", too_stale)


def _silent(drill: str) -> tuple[Promise, ...]:
    """A node that says nothing any more."""
    return _no_errors(drill), _goodput(drill), _worst(drill), _out(drill)


PROMISES: dict[str, tuple[Promise, ...]] = {
    "kill": (
        _no_errors("kill"),
        Promise("kill.gap", "the longest time without an answer", 0.05, "s", partial(gap_s, kind=Kind.FETCH)),
        Promise("kill.blocks", "read() blocks that failed and began after it", 0, "", _blocks_not_in_flight),
        Promise("kill.back", "answers again after its return", 1.5, "s", _back_s),
    ),
    "freeze": _silent("freeze"),
    "blackhole": _silent("blackhole"),
    "reset": (_no_errors("reset"), _worst("reset")),
    "lag": (_fresh("lag"), _no_errors("lag")),
    "pause": (_fresh("pause"), _no_errors("pause")),
    "all-down": (
        _no_errors("all-down"),
        _goodput("all-down"),
        Promise(
            "all-down.writes", "writes done, of those that were due", 90, "%", _writes_percent, at_least=True
        ),
    ),
    "promote": (
        _no_errors("promote"),
        Promise("promote.writes", "writes resume after the promotion", 0.3, "s", resumed_after_s),
    ),
    "old-primary-returns": (
        _no_errors("old-primary-returns"),
        Promise(
            "old-primary-returns.writes",
            "writes on the old primary after its return",
            0,
            "",
            partial(_answered_by_returned, (Kind.WRITE,)),
        ),
        Promise(
            "old-primary-returns.reads",
            "reads on the old primary after its return",
            0,
            "",
            partial(_answered_by_returned, READS),
        ),
    ),
    "primary-dead": (
        _no_errors("primary-dead"),
        Promise(
            "primary-dead.bounded",
            "bounded reads answered that nobody vouched for",
            0,
            "",
            _answered_after_the_bound,
        ),
        Promise(
            "primary-dead.reason", "bounded reads that fail without the reason", 0, "", _without_a_reason
        ),
    ),
    "restart-storm": (_no_errors("restart-storm"), _goodput("restart-storm")),
    "slow-statement": (
        Promise("slow-statement.errors", "slow statements that failed", 0, "", _slow_failed),
        Promise("slow-statement.twice", "slow statements that ran twice", 0, "", partial(_fact, "ran twice")),
    ),
    "conflicts": (_no_errors("conflicts"),),
}
"""By drill, in the order in which `pgfleet drill all` runs them."""

WATCHED = (_no_errors("watch"),)
"""What must hold while somebody else breaks things."""
