"""Where sessions read: each is told, and lent a connection of the same server again."""

from __future__ import annotations

from typing import Generic, TypeVar

from pgfleet.board import Board, Node, RoutingTable
from pgfleet.core.intent import ReadIntent
from pgfleet.engine.returns import Returns
from pgfleet.engine.wishes import SessionRead
from pgfleet.pool import Pooled

C = TypeVar("C")


class Seats(Generic[C]):
    """Leads the reads of a session back to where it has read before."""

    def __init__(self, board: Board[C], returns: Returns[C]) -> None:
        self._board = board
        self._returns = returns

    def take(self, table: RoutingTable, intent: ReadIntent, now_s: float) -> Pooled[C] | None:
        """What is idle where the session has read before, in the same life of that server."""
        seat = intent.seat
        node = self._board.nodes.get(seat.name) if seat and seat.name in table.names else None
        if seat is None or node is None or not table.has_seen(intent) or self._at(node) != seat.at:
            return None
        if seat.name in table.plan.checked:
            return None  # which of its connections leads to that server, the long way finds out
        pooled = node.reads.take()
        if pooled:
            node.reads.leases += 1
            pooled.lent_s = now_s
            self.note(pooled, intent)
        return pooled

    def note(self, pooled: Pooled[C], intent: ReadIntent, *, at_once: bool = True) -> None:
        """Have a session know where it reads: from now on, and once more when the read has ended.

        `at_once` False: this may be the slower of two attempts, of which nothing is seen.
        """
        if isinstance(intent, SessionRead):
            sight = intent.session.sight(intent.seat, self._at(self._returns.node_of(pooled), pooled))
            pooled.seen_by = sight
            if at_once:
                sight.begin()

    def _at(self, node: Node[C], pooled: Pooled[C] | None = None) -> tuple[str, str]:
        """The node, and the life of its server: of one of several, that to which the connection leads."""
        state = self._board.state(node)
        seen = pooled.seen if pooled and state.is_shared else state.observation
        return node.name, seen.incarnation if seen else ""
