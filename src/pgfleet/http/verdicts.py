"""What the probe paths answer: yes or no, and the word for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from pgfleet.core.health import Status, is_healthy, replica_status
from pgfleet.core.intent import PLAIN
from pgfleet.core.node import UNPROVEN, Reason
from pgfleet.core.plan import lag_s, plan_read
from pgfleet.core.succession import why_no_writes
from pgfleet.core.topology import NodeState, Topology

LAG = "^[0-9]{1,9}(kB|MB|GB|ms|s|m)$"
"""How `?lag=` is written."""

_BYTES = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_SIZES = {**_BYTES, "ms": 0.001, "s": 1.0, "m": 60.0}


class Verdict(NamedTuple):
    """An answer, and the one word that stands in the body."""

    yes: bool
    word: str
    may_change: bool = False
    """No, but for want of fresher knowledge: look again before it is told."""


Question = Callable[[Topology, NodeState], Verdict]


def is_primary(topology: Topology, node: NodeState) -> Verdict:
    """Whether this node takes writes."""
    if node.name == topology.writer_name:
        return Verdict(True, "primary")
    return _no(why_no_writes(topology, node))


def takes_reads(
    topology: Topology, node: NodeState, lag: str | None, max_lag_s: float, now_s: float
) -> Verdict:
    """Whether this node takes plain reads as a replica, with no more lag than `lag` if that is given."""
    reason = plan_read(topology, PLAIN, max_lag_s, now_s).reason(node.name)
    if reason is None and lag is not None and not _is_within(topology, node, lag):
        reason = Reason.STALE
    return _no(reason) if reason else Verdict(True, "replica")


def is_well(topology: Topology, node: NodeState) -> Verdict:
    """Whether this node answers and, if it is a replica, follows."""
    status = Status.HEALTHY if node.name == topology.primary_name else replica_status(topology, node)
    return Verdict(is_healthy(topology, node), status.value)


def of_any(topology: Topology, question: Question, otherwise: str) -> Verdict:
    """Whether the answer is yes for any node; the word `otherwise` when it is not."""
    verdicts = [question(topology, node) for node in topology.nodes]
    may_change = any(verdict.may_change for verdict in verdicts)
    return next((verdict for verdict in verdicts if verdict.yes), Verdict(False, otherwise, may_change))


def _no(reason: Reason) -> Verdict:
    return Verdict(False, reason.name.lower(), reason in UNPROVEN)


def _is_within(topology: Topology, node: NodeState, lag: str) -> bool:
    """By the lag that people read. While no primary answers nobody knows it, and then it is within no bound."""
    if topology.primary_name is None:
        return False
    number, unit = re.findall("[0-9]+|[A-Za-z]+", lag)
    measured = _lag_bytes(topology, node) if unit in _BYTES else lag_s(topology, node)
    return measured is not None and measured <= int(number) * _SIZES[unit]


def _lag_bytes(topology: Topology, node: NodeState) -> int | None:
    """From the primary's flush to the replica's replay, by the last look at each."""
    samples, seen = topology.history.samples, node.observation
    if not samples or seen is None or seen.replay_lsn is None:
        return None
    return max(0, samples[-1].flush_lsn - seen.replay_lsn)
