"""Finds the nodes that keep their callers waiting, ten times a second, so that no read need arm a timer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Any, Generic, TypeVar

from pgfleet.board import Board, Node
from pgfleet.core.node import Reason
from pgfleet.core.schedule import attempts_call_for_a_probe
from pgfleet.core.topology import Trouble
from pgfleet.ports import Runtime, Timer
from pgfleet.watch.judge import Judge

C = TypeVar("C")
logger = logging.getLogger("pgfleet")

SWEEP_S = 0.1
CUT_BLOCKS_AFTER_S = 3.0
"""Ten probes in a row have failed by then: whoever still waits in a block of his own waits for nothing.

Not earlier, since such a block is not run again elsewhere: a server that stalls for a second or two costs it no error.
"""


class Sweeper(Generic[C]):
    """Asks about a node with an attempt that is long under way, and frees those who wait on a node that is out."""

    def __init__(self, board: Board[C], ask: Callable[[str], Any], runtime: Runtime) -> None:
        self._board = board
        self._ask = ask
        self._runtime = runtime
        self._judge = Judge(board, ask)
        self._asked_s: dict[str, float] = {}
        self._timer: Timer | None = None
        self._stopping = False

    def start(self) -> None:
        """Sweep from now on."""
        self._rest()

    def stop(self) -> None:
        """Sweep no more."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()

    def _rest(self) -> None:
        if not self._stopping:
            self._timer = self._runtime.call_later(SWEEP_S, self._turn)

    def _turn(self) -> None:
        try:
            self.sweep()
        except Exception:  # the next sweep must still come
            logger.exception("a sweep failed")
        finally:
            self._rest()

    def sweep(self) -> None:
        """Look once at every node, and judge them all."""
        now_s = self._runtime.clock()
        for node in list(self._board.nodes.values()):
            self._look_at(node, self._board.state(node).trouble, now_s)
        self._judge.turn(now_s)

    def _look_at(self, node: Node[C], trouble: Trouble | None, now_s: float) -> None:
        if trouble is None:
            self._ask_if_silent(node, now_s)
        elif trouble.reason is Reason.UNREACHABLE and now_s - trouble.since_s >= CUT_BLOCKS_AFTER_S:
            node.reads.sever_lent()

    def _ask_if_silent(self, node: Node[C], now_s: float) -> None:
        begun_s = [at_s for pool in node.pools for at_s in pool.under_way_since()]
        if attempts_call_for_a_probe(begun_s, self._asked_s.get(node.name, -inf), now_s):
            self._asked_s[node.name] = now_s
            self._ask(node.name)
