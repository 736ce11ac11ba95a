"""What a caller is told who gets no connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgfleet.board import Board
from pgfleet.core.explain import explain
from pgfleet.core.intent import ReadIntent
from pgfleet.core.plan import Plan
from pgfleet.core.succession import told_of_writes
from pgfleet.errors import LeaseTimeout, NoReplica, Overloaded, PgfleetError, PrimaryUnavailable, SplitBrain
from pgfleet.faults import first_line

SAFE = "Nothing was sent, so it is safe to try again. "

_WITHOUT_REPLICAS = (
    "Bring the replicas back (`pgfleet explain` says what ails them), or raise what the primary takes."
)


def no_connection(board: Board[Any]) -> LeaseTimeout:
    """All are lent."""
    return LeaseTimeout(
        f"no connection became free in time (at most {board.settings.connection_timeout_s:g} s)",
        "All pools are in use: raise DB_MAX_CONNECTIONS or READ_REPLICA_<n>_MAX_CONNECTIONS, "
        "or hold leases for a shorter time.",
    )


def no_turn(board: Board[Any]) -> LeaseTimeout:
    """A read in place of a replica's waited for the primary in vain."""
    fallback = board.fallback
    return LeaseTimeout(
        f"no replica serves this read, and its turn on the primary, which takes at most "
        f"{fallback.caps()}, did not come in time (PGFLEET_OVERLOAD={fallback.policy})",
        _WITHOUT_REPLICAS,
    )


def overloaded(board: Board[Any]) -> Overloaded:
    """Such a read is not to wait."""
    return Overloaded(
        f"no replica serves this read, and the primary takes at most {board.fallback.caps()} "
        f"(PGFLEET_OVERLOAD=shed)",
        _WITHOUT_REPLICAS,
    )


def nobody_to_read_from(
    board: Board[Any], plan: Plan, met: Exception | None, tried: frozenset[str] = frozenset()
) -> PrimaryUnavailable:
    """Neither a replica nor the primary serves a read. `met`: what was met last; `tried`: those that failed it."""
    said = (
        "; ".join(_troubles(board, plan, tried)) or (first_line(met) if met else "") or "no node is a primary"
    )
    error = PrimaryUnavailable(
        f"no primary takes connections: {said}",
        "Check DATABASE_URL and that its server runs; `pgfleet explain` shows what is known of every node.",
    )
    error.__cause__ = met
    return error


def no_replica(board: Board[Any], plan: Plan, intent: ReadIntent) -> NoReplica:
    """No replica qualifies for a read that takes nobody else."""
    reasons = "; ".join(f"{name} {why}" for name, why in plan.left_out if name != plan.primary)
    return NoReplica(
        f"no replica serves this read: {reasons or 'there is none'}",
        "Give it more time or a wider bound; unqualified='primary' (PGFLEET_UNQUALIFIED) lets the primary serve it.",
        explain(board.topology, plan, board.now_s(), intent),
    )


def _troubles(board: Board[Any], plan: Plan, tried: frozenset[str]) -> list[str]:
    nodes = board.topology.nodes
    failed = {n.name: "has failed this read already" for n in nodes if n.name in tried}
    troubles = {n.name: f"{n.trouble.reason} ({n.trouble.detail})" for n in nodes if n.trouble}
    told = dict(plan.left_out) | failed | troubles
    return [f"{name} {why}" for name, why in told.items()]


def nobody_to_write_to(board: Board[Any], waited_s: float, said: Sequence[str]) -> PgfleetError:
    """No primary came, or two did. `said`: what one said that refused."""
    topology = board.topology
    told = "; ".join((*told_of_writes(topology), *said))
    if topology.is_split:
        return SplitBrain(
            f"two servers claim to be the primary (waited {waited_s:.1f} s): {told}",
            SAFE + "Stop one of them, or make it a standby of the other (pg_rewind): writes go on then.",
        )
    return PrimaryUnavailable(
        f"no primary takes connections (waited {waited_s:.1f} s): {told}",
        SAFE + "If it stays away, check DATABASE_URL and that its server runs; `pgfleet explain` shows what "
        "is known of every node.",
    )
