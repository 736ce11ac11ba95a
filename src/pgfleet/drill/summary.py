"""A drill in figures: what is printed, and what stands in its JSON."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf

from pgfleet.drill.calls import Event, Kind, Record
from pgfleet.drill.report import (
    READS,
    ErrorCount,
    View,
    back_after_s,
    errors,
    gap_s,
    lost_writes,
    out_after_s,
    rate_kept,
    since_broken,
    stalest_read_s,
    told,
    while_broken,
)


@dataclass(frozen=True, slots=True)
class CallFigures:
    """What callers of one kind saw, from the fault to the end of the drill."""

    call: str
    calls: int
    errors: int
    good_percent: float | None
    """Answered within a second of their time, of those that were due during the fault."""
    kept_percent: float | None
    """Done during the fault, of as many as were due in it."""
    p50_ms: float | None
    p99_ms: float | None
    longest_wait_s: float
    """Of one caller. Infinite: he was never answered again."""
    longest_gap_s: float
    """Between the answers of all of them, beyond the distance from one call to the next."""


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """What one node answered before, during and after the fault, and how it left and came back."""

    node: str
    reads_before: int
    reads_during: int
    reads_after: int
    writes_before: int
    writes_during: int
    writes_after: int
    out_after_s: float | None = None
    """Of a node that was broken: how long the router still offered it to reads."""
    back_after_s: float | None = None
    """Of such a node: from the moment that it was well again to its first answer."""


@dataclass(frozen=True, slots=True)
class Summary:
    """All of it."""

    seconds: float
    """How long the fault lasted."""
    events: tuple[Event, ...]
    """By the seconds since the drill began."""
    calls: tuple[CallFigures, ...]
    nodes: tuple[NodeFigures, ...]
    errors: tuple[ErrorCount, ...]
    stalest_read_s: float
    """So stale at least was the stalest read."""
    lost_writes: int | None
    """Acknowledged commits that are gone at the end: replication is asynchronous."""


def summary(record: Record) -> Summary:
    """The figures of a record."""
    return Summary(
        seconds=max(0.0, record.mended_s - record.broken_s),
        events=tuple(told(record)),
        calls=tuple(_call_figures(record, kind) for kind in Kind if View(record.calls).of(kind).calls),
        nodes=tuple(_node_figures(record, name) for name in _names(record)),
        errors=tuple(errors(record.calls)),
        stalest_read_s=stalest_read_s(record),
        lost_writes=lost_writes(record),
    )


def _names(record: Record) -> list[str]:
    """The nodes, and whoever else answered."""
    others = View(record.calls).by_node().keys() - set(record.nodes)
    return [*record.nodes, *sorted(others)]


def _call_figures(record: Record, kind: Kind) -> CallFigures:
    view = since_broken(record, kind)
    return CallFigures(
        call=kind.value,
        calls=len(view.calls),
        errors=len(view.failed),
        good_percent=_percent(while_broken(record, kind).good_share),
        kept_percent=_percent(rate_kept(record, kind)),
        p50_ms=_ms(view.percentile_s(50)),
        p99_ms=_ms(view.percentile_s(99)),
        longest_wait_s=view.longest_wait_s,
        longest_gap_s=gap_s(record, kind),
    )


def _node_figures(record: Record, name: str) -> NodeFigures:
    is_victim = name in record.victims
    return NodeFigures(
        name,
        *_answers(record, name, READS),
        *_answers(record, name, (Kind.WRITE,)),
        out_after_s=out_after_s(record, name) if is_victim else None,
        back_after_s=back_after_s(record, name) if is_victim else None,
    )


def _answers(record: Record, name: str, kinds: tuple[Kind, ...]) -> tuple[int, int, int]:
    """Before, during and after the fault, by when they ended."""
    ends = [call.ended_s for call in View(record.calls).of(*kinds).answered if call.node == name]
    edges_s = (-inf, record.broken_s, record.mended_s, inf)
    before, during, after = (
        sum(start_s <= end < end_s for end in ends) for start_s, end_s in pairwise(edges_s)
    )
    return before, during, after


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _ms(time_s: float | None) -> float | None:
    return None if time_s is None else 1000 * time_s
