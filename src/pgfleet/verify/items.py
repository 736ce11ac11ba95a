"""What a run of the checklist says: items, each with its evidence. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

TITLES = {
    "replicas": "Replicas run and stream",
    "lag": "Replication lag",
    "health": "Health endpoint",
    "pools": "Connection pools",
    "environment": "Environment",
    "alerts": "Alert rules",
    "failover": "Failover of a replica",
    "fallback": "Fallback to the primary",
    "distribution": "Reads on replicas",
    "endpoints": "Endpoints documented",
    "own-writes": "Reads see own writes",
}
"""The items in the order of the checklist, and behind them what it does not ask and users need."""

DOCTOR = "`pgfleet doctor` finds the cause."


class Outcome(StrEnum):
    """What became of an item."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the checklist."""

    key: str
    outcome: Outcome
    evidence: tuple[str, ...]
    """What was seen, the worst first. Of a skipped one: why."""
    next_step: str = ""
    """What to do about a failure; how to include what was skipped."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, for programs."""

    @property
    def title(self) -> str:
        """Its name for people."""
        return TITLES[self.key]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a node is, for the runbook. Without its password."""

    name: str
    role: str
    address: str
    """`host:port/database`."""
    zone: str | None = None
    weight: int | None = None
    """Its part of the reads; None: the primary."""
    version: str | None = None
    """PostgreSQL's; None: it did not answer."""


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the checklist."""

    timestamp: str
    """UTC, when it began."""
    took_s: float
    items: tuple[Item, ...]
    endpoints: tuple[Endpoint, ...] = ()
    notices: tuple[str, ...] = ()
    """What is worth knowing, and fails nothing."""

    def count(self, outcome: Outcome) -> int:
        """How many items ended so."""
        return sum(item.outcome is outcome for item in self.items)

    def is_good(self, strict: bool = False) -> bool:
        """Whether no item failed; `strict`: nor was one skipped."""
        return not self.count(Outcome.FAILED) and not (strict and self.count(Outcome.SKIPPED))


def judged(
    key: str,
    problems: Sequence[str],
    evidence: Sequence[str],
    next_step: str = DOCTOR,
    figures: Mapping[str, Any] | None = None,
) -> Item:
    """An item that fails by its problems, which stand before the evidence."""
    outcome = Outcome.FAILED if problems else Outcome.PASSED
    return Item(key, outcome, (*problems, *evidence), next_step if problems else "", figures or {})


def skipped(key: str, why: str, how: str) -> Item:
    """An item that was not looked at, and what includes it."""
    return Item(key, Outcome.SKIPPED, (why,), how)
