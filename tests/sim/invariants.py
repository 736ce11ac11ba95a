"""What must hold in every history, each by a name that can be left out."""

from __future__ import annotations

from enum import StrEnum


class Invariant(StrEnum):
    """A promise. The value is what a violation says."""

    FENCED = "a write went to a primary below the highest timeline that a primary had told"
    FENCED_BY_REPLICA = "a write went to a primary below the highest timeline that a replica had told"
    SEVERED = "a write lease of before was used on a primary that had been fenced meanwhile"
    BOUND = "a read was staler than its bound"
    OWN_WRITES = "a read missed an acknowledged write of its org"
    SESSION_WRITES = "a read of a session missed an acknowledged write of it"
    MONOTONIC = "a read of a session missed what an earlier one had seen"
    ONCE = "a write was done twice"
    DONE = "a write was acknowledged and never done"
    CLEAN = "a connection was lent that somebody uses, or left something in"
    OLD_LIFE = "a connection was lent to a life of a server that the router knew to be over"
    LOST_WAKEUP = "a caller stood in line where a connection or a place was free"
    RETRIED = "a read that can run elsewhere failed by its connection"
    NEEDLESS = "a read was refused while a replica was well"
    OUR_ERRORS = "an error that is neither ours nor the driver's"
    REASONS = "a refusal or a left-out node without a reason"
    PANIC_SHARE = "more replicas were ejected than may be"
    IN_TIME = "a caller waited beyond its time"
    WATCHED = "a watch has ended"
    LEASES_RETURN = "something is still lent, or still open, when all is over"
    ON_REPLICAS = "all replicas are well and a plain read went to the primary"
    LIVENESS = "the faults are over and the fleet does not serve as before"


class Violation(AssertionError):
    """A promise was broken."""

    def __init__(self, invariant: Invariant, detail: str) -> None:
        super().__init__(invariant, detail)
        self.invariant = invariant
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.invariant.name}: {self.invariant}: {self.detail}"


ALL = frozenset(Invariant)
