"""Compares the replicas' answers with one another, and tells the board which of them is much slower than the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Generic, TypeVar

from pgfleet.board import Board, Node
from pgfleet.chance import CHANCE
from pgfleet.core.ejection import Phase, Standing, Verdict, elapse, judge, may_eject, returning
from pgfleet.core.latency import RECENT_S, Answers, Profile, comparison, is_quick, is_slow
from pgfleet.core.schedule import LONG_S

C = TypeVar("C")
Kind = Callable[[Node[Any]], Answers]
"""Whose answers: `_reads` or `_probes`."""

SIT_S = 0.5
WELL = Verdict(False)
TRIALS = 3
TRIED_BY_PROBES_AFTER_S = 1.0
"""A replica that nobody reads with `fetch` is tried by its probes."""


class Judge(Generic[C]):
    """Sits twice a second, and looks after the replicas that are ejected, on trial, or warming up."""

    def __init__(self, board: Board[C], ask: Callable[[str], Any]) -> None:
        self._board = board
        self._ask = ask
        self._nodes = board.nodes
        self._sits_s = -inf

    def turn(self, now_s: float) -> None:
        """What time makes of every node, and what its answers say of it. To be called every 100 ms or so."""
        # Those of one moment: nodes come and go, and other threads have other turns.
        self._nodes = self._board.nodes
        names = frozenset(self._board.table.names)
        before = {node.name: node.standing for node in self._board.topology.nodes if node.name in self._nodes}
        after = {name: elapse(standing, name in names, now_s) for name, standing in before.items()}
        for name, standing in after.items():
            if standing.phase is Phase.ON_TRIAL:
                after[name] = self._try(name, standing, now_s)
        if now_s >= self._sits_s + SIT_S:
            self._sits_s = now_s
            self._sit([name for name in after if name in names and not after[name].is_out], after, now_s)
        self._board.stand(before, after)
        self._board.offer([name for name, standing in after.items() if self._takes_a_trial(name, standing)])

    # those that serve

    def _sit(self, serving: Sequence[str], standings: dict[str, Standing], now_s: float) -> None:
        looked = {name: self._look(self._nodes[name], now_s) for name in serving}
        for name, kind in looked.items():
            verdict = self._compare(name, kind, now_s) if kind else None
            if verdict:
                may_go = verdict.slow and self._may_eject(standings)
                standings[name] = judge(standings[name], verdict, may_go, now_s, _jitter())

    def _look(self, node: Node[C], now_s: float) -> Kind | None:
        """Which of its answers have just become enough to judge it by: probes count while nobody reads."""
        by_reads = node.reads.answers.look(now_s, node.reads.waits_s(now_s, LONG_S))
        by_probes = node.probes.look(now_s)
        if by_reads:
            return _reads
        return _probes if by_probes and not node.reads.answers.recent(now_s) else None

    def _compare(self, name: str, kind: Kind, now_s: float) -> Verdict | None:
        """This node against the others that serve; None: they have nothing to compare it with."""
        mine = kind(self._nodes[name]).profile
        if not mine or is_quick(mine):
            return WELL if mine else None
        others = self._others(name, kind, now_s)
        if not others:
            return None
        return Verdict(True, comparison(mine, others)) if is_slow(mine, others) else WELL

    def _others(self, name: str, kind: Kind, now_s: float) -> list[Profile]:
        """The profiles of the others that take turns, as far as there are any."""
        nodes, names = self._nodes, self._board.table.plan.trusted
        recent = [kind(nodes[other]).recent(now_s) for other in names if other != name and other in nodes]
        return [profile for profile in recent if profile]

    def _may_eject(self, standings: dict[str, Standing]) -> bool:
        settings, topology = self._board.settings, self._board.topology
        replicas = [
            standings[node.name]
            for node in topology.nodes
            if node.name != topology.primary_name and node.name in standings and not node.draining
        ]
        serving = [
            name for name in self._board.table.names if name in standings and not standings[name].is_out
        ]
        out = sum(standing.is_out for standing in replicas)
        return may_eject(len(replicas), out, len(serving), settings.max_ejected_share, settings.panic_share)

    # those on trial

    def _try(self, name: str, standing: Standing, now_s: float) -> Standing:
        """The outcome of a trial, once there is one. Its answers count from the trial's beginning.

        Where nobody reads there is nothing to compare it with, and no harm in trusting it.
        """
        node = self._nodes[name]
        if standing.since_s == now_s:
            node.reads.answers.begin(now_s)
            node.probes.begin(now_s)
        kind = self._tried_by(node, standing, now_s)
        verdict = self._compare(name, kind, now_s) if kind else None
        if verdict:
            return judge(standing, verdict, True, now_s, _jitter())
        in_vain = now_s - standing.since_s >= RECENT_S and not _is_tried(node, standing)
        return returning(standing) if in_vain else standing

    def _tried_by(self, node: Node[C], standing: Standing, now_s: float) -> Kind | None:
        if node.reads.answers.look(now_s, node.reads.waits_s(now_s, LONG_S), TRIALS):
            return _reads
        if now_s - standing.since_s < TRIED_BY_PROBES_AFTER_S or _is_tried(node, standing):
            return None
        self._ask(node.name)
        return _probes if node.probes.look(now_s, at_least=TRIALS) else None

    def _takes_a_trial(self, name: str, standing: Standing) -> bool:
        return standing.phase is Phase.ON_TRIAL and not _is_tried(self._nodes[name], standing)


def _is_tried(node: Node[Any], standing: Standing) -> bool:
    """Whether a read that began with the trial is still under way."""
    return any(begun_s >= standing.since_s for begun_s in node.reads.under_way_since())


def _reads(node: Node[Any]) -> Answers:
    return node.reads.answers


def _probes(node: Node[Any]) -> Answers:
    return node.probes


def _jitter() -> float:
    return CHANCE.random()
