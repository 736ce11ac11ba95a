"""Looks after the pools once a second: ends what is too old, and opens what is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from pgfleet.board import Board, Node
from pgfleet.faults import first_line
from pgfleet.ports import Runtime
from pgfleet.watch.watch import CONNECT_TIMEOUT_S

C = TypeVar("C")
logger = logging.getLogger("pgfleet")

TEND_INTERVAL_S = 1.0


class Tender(Generic[C]):
    """Tends the pools of the nodes that `watched` names; one whose pool cannot be filled is to be looked at."""

    def __init__(
        self,
        board: Board[C],
        watched: Callable[[], Iterable[Node[C]]],
        ask: Callable[[str], Any],
        runtime: Runtime,
    ) -> None:
        self._board = board
        self._watched = watched
        self._ask = ask
        self._runtime = runtime
        self._stop = runtime.signal()
        self._stopping = False

    def start(self) -> None:
        """Tend from now on."""
        self._runtime.spawn(self._tend(), "tend")

    def stop(self) -> None:
        """Tend no more."""
        self._stopping = True
        self._stop.set()

    async def _tend(self) -> None:
        while not self._stopping:
            for node in self._watched():
                await self._tend_node(node)
            await self._stop.wait(TEND_INTERVAL_S)

    async def _tend_node(self, node: Node[C]) -> None:
        for pool in node.pools:
            await pool.tend(self._runtime.clock())
            if self._wants_connections(node, pool):
                try:
                    await pool.fill(CONNECT_TIMEOUT_S)
                except Exception as error:
                    logger.debug("%s: cannot fill its pool: %s", node.name, first_line(error))
                    self._ask(node.name)

    def _wants_connections(self, node: Node[C], pool: Any) -> bool:
        state = self._board.state(node)
        if state.trouble or state.draining or state.observation is None:
            return False
        writable = node.name == self._board.topology.writer_name
        return writable if pool is node.writes else True
