"""What the caller is told when a write ends otherwise than it should."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pgfleet.board import Board
from pgfleet.core.outcome import Moment, Outcome, outcome
from pgfleet.engine.knowledge import Knowledge
from pgfleet.engine.returns import Returns
from pgfleet.errors import OutcomeUnknown, PgfleetError, PrimaryUnavailable
from pgfleet.faults import first_line
from pgfleet.pool import Pooled

C = TypeVar("C")

TRY_AGAIN = (
    "It is safe to try again: the next attempt waits for the primary. (In autocommit this is so of the "
    "statement that failed; what the block did before it is committed.)"
)
FIND_OUT = (
    "Read from the primary before you try again: look for the row by a key of its own, or ask "
    "pg_xact_status() of the pg_current_xact_id() that you noted. With a unique key and ON CONFLICT DO "
    "NOTHING it is safe to send again at once."
)


class Outcomes(Generic[C]):
    """Finds out what became of a write, as far as anybody can."""

    def __init__(self, board: Board[Any], knowledge: Knowledge, returns: Returns[C]) -> None:
        self._board = board
        self._knowledge = knowledge
        self._returns = returns

    async def explain(self, pooled: Pooled[C], error: BaseException, moment: Moment) -> None:
        """Take the connection back. Raises what became of the write, unless `error` says it already."""
        lost = pooled.pool.connector.lost_with(pooled.raw, error)
        consequence = await self._returns.give_back(pooled, error, "write")
        refused = not lost and consequence.never_executed and await self._is_no_primary(pooled)
        became = outcome(moment, lost=lost, refused=refused)
        if became is not Outcome.FAILED:
            raise self._told(pooled, became, first_line(error)) from error

    def lost_before_commit(self, pooled: Pooled[C], moment: Moment) -> PgfleetError:
        """What to raise when the connection is gone and COMMIT was not sent."""
        became = outcome(moment, lost=True, refused=False)
        return self._told(pooled, became, "the connection was lost before COMMIT was sent")

    async def _is_no_primary(self, pooled: Pooled[C]) -> bool:
        """Whether a server that refused to write is a standby; a primary does so in the caller's read-only session."""
        name = self._returns.node_of(pooled).name
        await self._knowledge.refresh((name,))
        return self._board.topology.writer_name != name

    def _told(self, pooled: Pooled[C], became: Outcome, why: str) -> PgfleetError:
        name = self._returns.node_of(pooled).name
        if became is Outcome.UNKNOWN:
            return OutcomeUnknown(f"the write on {name} was committed or not: {why}", FIND_OUT)
        return PrimaryUnavailable(f"the write on {name} is surely not committed: {why}", TRY_AGAIN)
