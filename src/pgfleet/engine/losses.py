"""What promotions may have lost of what a read must see, and who has been told."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import Any, NamedTuple

from pgfleet.board import Board
from pgfleet.core.lineage import Fork, just_after
from pgfleet.core.position import Watermark
from pgfleet.errors import WritesLost

logger = logging.getLogger("pgfleet")

LOST_HINT = (
    "Reads go on from here: look at what is there now, and write again what is missing. Synchronous replication "
    "(synchronous_standby_names) loses nothing; PGFLEET_LOST_WRITES=serve logs this instead."
)


class Loss(NamedTuple):
    """What a promotion may have lost."""

    holder: str
    of: Hashable
    """Who that is, or what he holds."""
    fork: Fork | None

    @property
    def key(self) -> Hashable:
        """By what it is remembered as told."""
        return self.of, self.fork and self.fork.timeline

    def __str__(self) -> str:
        which = f" (timeline {self.fork.before} to {self.fork.timeline})" if self.fork else ""
        return f"the last writes of {self.holder} may have been lost when another server was promoted{which}"


class Losses:
    """What one read has lost by now, of all that it must see: found first, and told at once."""

    def __init__(self, board: Board[Any]) -> None:
        self._board = board
        self._found: list[Loss] = []

    def survived_s(self, mark_s: float, holder: str, key: Hashable) -> float:
        """This moment, or the first one after the promotion that may have lost what was written then."""
        fork = self._board.topology.lineage.lost_at(mark_s) if mark_s else None
        if fork is None:
            return mark_s
        self._found.append(Loss(holder, key, fork))
        return just_after(fork.until_s)

    def is_had(self, watermark: Watermark) -> bool:
        """Whether whoever serves reads has it, or nobody ever will. Until the new primary has told, nobody knows."""
        topology = self._board.topology
        written_by = topology.history.written_by
        if written_by is None or watermark.timeline >= written_by.timeline:
            return False
        if topology.lineage.has_lost(watermark, written_by.timeline):
            self._found.append(Loss(f"the holder of a token ({watermark})", watermark, topology.lineage.last))
        return True

    def tell(self) -> None:
        """Tell the holder of lost writes once, of all of them. Raises WritesLost, where the settings say so."""
        news = [str(loss) for loss in self._found if self._board.writes.is_news(loss.key)]
        for what in news:
            logger.warning("%s", what)
        if news and self._board.settings.lost_writes == "error":
            raise WritesLost("; ".join(news), LOST_HINT)
