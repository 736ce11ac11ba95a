"""Holds a history against the promises. Values in, verdicts out.

What may be missing, and nothing else: a write that was not acknowledged before the moment that the read covers; and,
in a read that ended after a promotion, a write that the promoted node did not hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgfleet.drill.consistency.history import EMPTY, History, Promise, State
from pgfleet.drill.consistency.keys import is_list, name_of
from pgfleet.drill.consistency.ledger import Ledger, ledgers
from pgfleet.drill.consistency.reigns import Promotion, Reigns
from pgfleet.drill.consistency.sessions import check_sessions
from pgfleet.drill.consistency.verdicts import OF_PROMISE, Check, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of all promises."""

    verdicts: tuple[Verdict, ...]
    """Of the checks that had something to look at."""
    lost: int
    """Acknowledged writes that promotions took away: no promise covers them."""
    overtaken: int
    """Reads of a session that the primary answered before it showed a write that a replica had shown already."""

    @property
    def is_kept(self) -> bool:
        """Whether all of them were."""
        return all(verdict.is_kept for verdict in self.verdicts)


def check(
    history: History,
    first: str = "primary",
    promotions: Sequence[Promotion] = (),
    at_the_end: Mapping[int, State] | None = None,
) -> Judgement:
    """Judge all of it. `first` was the primary as it began; `at_the_end` is what the last one holds."""
    reigns = Reigns(first, promotions)
    checker = _Checker(history, ledgers(history, reigns))
    checker.check_reads()
    verdict = checker.verdicts[Check.SESSION]
    overtaken = check_sessions(history, checker.ledgers, reigns, verdict)
    if at_the_end is not None:
        checker.check_the_end(at_the_end)
    looked_at = tuple(verdict for verdict in checker.verdicts.values() if verdict.checked)
    return Judgement(looked_at, checker.lost(), overtaken)


class _Checker:
    def __init__(self, history: History, by_key: dict[int, Ledger]) -> None:
        self.history = history
        self.ledgers = by_key
        self.verdicts = {check: Verdict(check) for check in Check}

    def lost(self) -> int:
        """Of the acknowledged writes."""
        return sum(ledger.is_done(number) for ledger in self.ledgers.values() for number in ledger.lost_s)

    def check_reads(self) -> None:
        """One after the other, each by itself."""
        reads, highest, holes = self.history.reads, self.history.highest, self.history.holes
        for row, key in enumerate(reads.key):
            ledger = self.ledgers.get(key) or self.ledgers.setdefault(key, Ledger(key))
            seen, without, ended_s = highest[row], holes.get(row, frozenset()), reads.ended_s[row]
            self._check_promise(row, ledger, seen, ended_s)
            self._check_real(row, ledger, seen, without, ended_s)
            if is_list(key):
                self._check_order(row, ledger, seen, without, ended_s)

    def _check_promise(self, row: int, ledger: Ledger, seen: int, ended_s: float) -> None:
        promised = OF_PROMISE.get(Promise(self.history.promises[row]))
        if promised is None:
            return
        verdict = self.verdicts[promised]
        verdict.checked += 1
        wanted = ledger.last_done(self.history.covers_s[row], ended_s)
        if seen < wanted:
            what = f"{name_of(ledger.key)} was read without {wanted}"
            verdict.add(what, self.history.write(ledger.rows[wanted - 1]), self.history.read(row))

    def _check_real(
        self, row: int, ledger: Ledger, seen: int, without: frozenset[int], ended_s: float
    ) -> None:
        verdict = self.verdicts[Check.REAL]
        verdict.checked += 1
        if seen > len(ledger.rows) or (seen and ledger.began(seen) >= ended_s):
            sent = [self.history.write(ledger.rows[seen - 1])] if seen <= len(ledger.rows) else []
            verdict.add(f"{seen} was read before anybody wrote it", *sent, self.history.read(row))
        elif refused := _refused(ledger, seen, without):
            what = f"{refused} was read although it was surely not written"
            verdict.add(what, self.history.write(ledger.rows[refused - 1]), self.history.read(row))

    def _check_order(
        self, row: int, ledger: Ledger, seen: int, without: frozenset[int], ended_s: float
    ) -> None:
        verdict = self.verdicts[Check.ORDER]
        verdict.checked += 1
        for hole in without:
            if seen <= len(ledger.rows) and ledger.is_done(hole) and not ledger.is_lost(hole, ended_s):
                what = f"{name_of(ledger.key)} has {seen} without {hole}, which was there before"
                proof = (self.history.write(ledger.rows[number - 1]) for number in (hole, seen))
                verdict.add(what, *proof, self.history.read(row))
                return

    def check_the_end(self, at_the_end: Mapping[int, State]) -> None:
        """What was acknowledged, and taken away by no promotion, is there."""
        verdict = self.verdicts[Check.KEPT]
        for key, ledger in self.ledgers.items():
            state = at_the_end.get(key, EMPTY)
            verdict.checked += len(ledger.done)
            for number in ledger.done:
                if not state.has(number) and number not in ledger.lost_s:
                    what = f"{number} is gone from {name_of(key)}"
                    verdict.add(what, self.history.write(ledger.rows[number - 1]))


def _refused(ledger: Ledger, seen: int, without: frozenset[int]) -> int:
    """A number that was read although its writer was told that it was not written; 0: none."""
    if not ledger.refused:
        return 0
    read = ledger.refused - without if is_list(ledger.key) else ledger.refused & {seen}
    return next((number for number in sorted(read) if number <= seen), 0)
