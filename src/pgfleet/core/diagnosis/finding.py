"""One thing that is wrong, as a person and a program read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Severity(StrEnum):
    """How bad it is. A notice is no reason to wake anybody, and leaves the exit code 0."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTICE = "notice"


SEVERITIES = tuple(Severity)
"""The worst first."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a fix: what to paste, where, and when it is the right one."""

    run: str
    """A shell command, or SQL, which ends with `;`."""
    on: str
    """The node, or `the application`."""
    when: str = ""
    """Empty: in any case."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one node."""

    id: str
    severity: Severity
    node: str
    """Where it was seen."""
    evidence: str
    """What was seen, with its figures."""
    fix: tuple[Step, ...]
    concerns: str = ""
    """The node whose matter it is: the replica of a slot. Empty: `node`."""
    figures: Mapping[str, float | int | str | None] = field(default_factory=lambda: MappingProxyType({}))
    """The figures of the evidence, by name, for programs."""
    because: str = ""
    """The id of the finding that explains this one; empty: none does."""
    because_of: str = ""
    """The node of that finding."""

    @property
    def subject(self) -> str:
        """The node whose matter it is."""
        return self.concerns or self.node
