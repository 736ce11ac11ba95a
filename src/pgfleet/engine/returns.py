"""Takes connections back, and tells the board what was met on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, Literal, TypeVar

from pgfleet.board import Board, Node
from pgfleet.core.failure import CONSEQUENCES, Consequence, Phase, Verdict, classify
from pgfleet.core.node import Reason, Role
from pgfleet.engine.knowledge import Knowledge
from pgfleet.faults import first_line, network_fault
from pgfleet.pool import Pool, Pooled
from pgfleet.ports import Runtime

C = TypeVar("C")
Lease = Literal["read", "write"]

READ_ONLY_NOTE = "pgfleet: read() and fetch() lend connections that take no writes; use write() or execute()"

_KEEP = Consequence()
_DROP = Consequence(drop_connection=True)


class Returns(Generic[C]):
    """Where each connection comes back to, whatever happened to it."""

    def __init__(self, board: Board[C], knowledge: Knowledge, runtime: Runtime) -> None:
        self._board = board
        self._knowledge = knowledge
        self._runtime = runtime

    async def done(self, pooled: Pooled[C], clean: bool) -> None:
        """Take a connection back after a statement that succeeded; `clean`: one that left the session alone."""
        pooled.replayable = False
        if pooled.seen_by:
            pooled.tell_seen()
        if clean:
            pooled.pool.give(pooled)
        else:
            await self.give_back(pooled)

    async def give_back(
        self, pooled: Pooled[C], error: BaseException | None = None, lease: Lease = "read"
    ) -> Consequence:
        """Take a connection back; what follows from `error`, if the caller's block ended with one.

        The connection is cleaned before anybody else gets it.
        """
        if pooled.seen_by:
            pooled.tell_seen()
        if error is not None and not isinstance(error, Exception):
            self.abandon(pooled)
            return _DROP
        consequence = _KEEP if error is None else self._judge(pooled, error, lease)
        if consequence.drop_connection:
            pooled.pool.discard(pooled)
            return consequence
        failed = await pooled.pool.reset_and_give(pooled)
        if failed is not None:
            self.met(self.node_of(pooled), failed, Phase.RESET, lease)
        return consequence

    def abandon(self, pooled: Pooled[C]) -> None:
        """Drop a connection in mid-statement, and have the server told to stop while nobody waits for that.

        What is still on the wire would meet the next borrower.
        """
        stop = pooled.pool.connector.abandon(pooled.raw)
        pooled.pool.discard(pooled)
        self._runtime.spawn(stop, "abandon")

    def node_of(self, pooled: Pooled[C]) -> Node[C]:
        """Whose connection this is."""
        return self.node_with(pooled.pool)

    def node_with(self, pool: Pool[C]) -> Node[C]:
        """Whose pool this is."""
        node: Node[C] = pool.owner
        return node

    # what was met

    def _judge(self, pooled: Pooled[C], error: Exception, lease: Lease) -> Consequence:
        """What follows from an error under a lease. The caller's own is what is no driver's, or of another database."""
        connector, ours = pooled.pool.connector, pooled.timed_out or pooled.fenced
        fault = connector.fault(error)
        if fault and fault.lost and not connector.lost_with(pooled.raw, error):
            return _KEEP
        if pooled.severed and not ours and fault and fault.lost:
            return CONSEQUENCES[
                Verdict.CONNECTION_LOST
            ]  # cut by us long since, maybe, and the node well again
        verdict = self.met(self.node_of(pooled), error, Phase.STATEMENT, lease, ours=ours)
        if verdict is None:
            return _KEEP
        if verdict is Verdict.READ_ONLY:
            error.add_note(READ_ONLY_NOTE)
        consequence = CONSEQUENCES[verdict]
        return replace(consequence, drop_connection=True) if fault and fault.lost else consequence

    def met(
        self, node: Node[C], error: Exception, phase: Phase, lease: Lease, ours: bool = False
    ) -> Verdict | None:
        """Tell the board what this error says about its node. None: nothing, it is no driver's."""
        fault = node.prober.fault(error) or (None if phase is Phase.STATEMENT else network_fault(error))
        if fault is None:
            return None
        belongs = self._board.has(node)
        state = self._board.state(node)
        seen = state.observation
        in_recovery = not belongs or (seen is not None and seen.role is Role.REPLICA)
        verdict = classify(replace(fault, ours=ours), phase, lease=lease, in_recovery=in_recovery)
        if belongs:  # what was met on a node that is gone says nothing of its successor
            one_of_several = state.is_shared and phase is not Phase.CONNECT
            self._act(node.name, verdict, lease, first_line(error), one_of_several)
        return verdict

    def _act(
        self, name: str, verdict: Verdict, lease: Lease, detail: str, one_of_several: bool = False
    ) -> None:
        """`one_of_several`: the server of that connection alone is in trouble, behind a shared endpoint."""
        consequence = CONSEQUENCES[verdict]
        if one_of_several:
            if consequence.suspect or consequence.strike or consequence.probe:
                self._knowledge.ask(name)
            return
        if consequence.suspect or (consequence.strike and self._board.shut_down(name) > 1):
            reason = Reason.MISCONFIGURED if verdict is Verdict.CONFIG else Reason.UNREACHABLE
            self._board.fail(name, reason, detail)
        if consequence.probe:
            self._knowledge.ask(name)
        if consequence.probe and lease == "write":
            self._knowledge.search()
