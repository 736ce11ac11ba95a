"""What an exception says about the node it came from."""

from __future__ import annotations

from pgfleet.core.failure import Fault, Phase, Verdict, classify
from pgfleet.core.node import Reason

BEHIND_A_POOLER = "; that is a pooler: set PGFLEET_POOLER=transaction and the nodes' probe addresses"
"""For people: what is done about an error is never told by its words."""


class NotPrimary(Exception):
    """A server that was to take writes is none of ours that does."""


def network_fault(error: BaseException) -> Fault | None:
    """What an error of the system means while we connect or clean. In a caller's block it may be any other file's."""
    return Fault(lost=True, timed_out=isinstance(error, TimeoutError)) if isinstance(error, OSError) else None


def probe_reason(fault: Fault | None) -> Reason:
    """Why a node whose probe failed so is out."""
    if fault is None:
        return Reason.UNREACHABLE
    verdict = classify(fault, Phase.PROBE, lease="read", in_recovery=True)
    return {Verdict.BUSY: Reason.BUSY, Verdict.CONFIG: Reason.MISCONFIGURED}.get(verdict, Reason.UNREACHABLE)


def first_line(error: BaseException) -> str:
    """The first line of what a driver or the system said. Neither puts a password there."""
    lines = str(error).strip().splitlines()
    if lines:
        return lines[0] + (BEHIND_A_POOLER if "unsupported startup parameter" in lines[0] else "")
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
