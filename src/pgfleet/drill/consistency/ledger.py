"""All that became of the writes of one key."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field

from pgfleet.drill.consistency.history import History, Outcome
from pgfleet.drill.consistency.reigns import Reigns


@dataclass
class Ledger:
    """The writes of one key, by number: the first has index 0."""

    key: int
    rows: array[int] = field(default_factory=lambda: array("q"))
    """Where each stands in the history."""
    began_s: array[float] = field(default_factory=lambda: array("d"))
    done: array[int] = field(default_factory=lambda: array("q"))
    """The numbers that were acknowledged."""
    done_s: array[float] = field(default_factory=lambda: array("d"))
    """When each of these was; they rise."""
    refused: set[int] = field(default_factory=set)
    """The numbers that were surely not written."""
    unknown: set[int] = field(default_factory=set)
    lost_s: dict[int, float] = field(default_factory=dict)
    """When a promotion took away those that it took."""

    def is_lost(self, number: int, at_s: float) -> bool:
        """Whether a promotion had taken it away by then."""
        return bool(self.lost_s) and self.lost_s.get(number, at_s + 1) <= at_s

    def is_done(self, number: int) -> bool:
        """Whether it was acknowledged, sooner or later."""
        return number not in self.refused and number not in self.unknown

    def last_done(self, before_s: float, at_s: float) -> int:
        """The highest number that was acknowledged before one moment and not lost by another; 0: none."""
        index = bisect_left(self.done_s, before_s) - 1
        while index >= 0 and self.is_lost(self.done[index], at_s):
            index -= 1
        return self.done[index] if index >= 0 else 0

    def began(self, number: int) -> float:
        """When it was sent."""
        return self.began_s[number - 1]


def ledgers(history: History, reigns: Reigns) -> dict[int, Ledger]:
    """The writes of a history by key. Raises ValueError when those of a key are not numbered 1, 2, 3, ..."""
    by_key: dict[int, Ledger] = {}
    of_reign: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    nodes = history.nodes
    for row, key in enumerate(history.writes.key):
        ledger = by_key.setdefault(key, Ledger(key))
        number = history.numbers[row]
        if number != len(ledger.rows) + 1:
            raise ValueError(f"write {number} of key {key} is its {len(ledger.rows) + 1}.")
        reign = _enter(ledger, history, row, number, nodes, reigns)
        if reign is not None:
            of_reign[key, reign].append(number)
    for (key, reign), numbers in of_reign.items():
        by_key[key].lost_s |= reigns.lost_at_s(key, numbers, reign)
    return by_key


def _enter(
    ledger: Ledger, history: History, row: int, number: int, nodes: list[str], reigns: Reigns
) -> int | None:
    """One more; the reign in which it was made, if it was."""
    began_s, ended_s = history.writes.began_s[row], history.writes.ended_s[row]
    ledger.rows.append(row)
    ledger.began_s.append(began_s)
    outcome = history.outcomes[row]
    if outcome == Outcome.DONE:
        ledger.done.append(number)
        ledger.done_s.append(ended_s)
        return reigns.of(nodes[history.writes.node[row]], ended_s)
    (ledger.refused if outcome == Outcome.REFUSED else ledger.unknown).add(number)
    return reigns.at(began_s) if outcome == Outcome.UNKNOWN else None
