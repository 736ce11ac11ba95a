"""What `pgfleet doctor` prints: a block for each finding, or one JSON document."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgfleet.cli.output import timestamp
from pgfleet.core.diagnosis.catalogue import CATALOGUE
from pgfleet.core.diagnosis.finding import SEVERITIES, Finding, Severity, Step
from pgfleet.core.diagnosis.snapshot import NodeSeen, Snapshot
from pgfleet.core.diagnosis.steps import APPLICATION
from pgfleet.core.words import counted

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {Severity.CRITICAL: "bold red", Severity.WARNING: "bold yellow", Severity.NOTICE: "bold cyan"}
_INDENT = 12
"""Where what stands beside a label begins."""

Json = dict[str, Any]


def as_document(snapshot: Snapshot, findings: Sequence[Finding], elapsed_s: float) -> Json:
    """The JSON document."""
    return {
        "timestamp": timestamp(),
        "healthy": worst(findings) in (None, Severity.NOTICE),
        "worst": worst(findings),
        "elapsedSeconds": round(elapsed_s, 3),
        "nodes": [_node(seen) for seen in snapshot.nodes],
        "findings": [_finding(finding) for finding in findings],
    }


def worst(findings: Sequence[Finding]) -> Severity | None:
    """The worst severity; None: nothing was found."""
    return min((finding.severity for finding in findings), key=SEVERITIES.index, default=None)


def _node(seen: NodeSeen) -> Json:
    server = seen.facts.server if seen.facts else None
    return {
        "name": seen.name,
        "address": seen.address,
        "answers": server is not None,
        "role": None if server is None else "replica" if server.in_recovery else "primary",
        "version": server.version_text if server else None,
        "user": server.role if server else seen.user,
        "notSeen": [{"what": unseen.what, "why": unseen.why} for unseen in seen.unseen],
    }


def _finding(finding: Finding) -> Json:
    kind = CATALOGUE[finding.id]
    return {
        "id": finding.id,
        "severity": finding.severity,
        "node": finding.node,
        "concerns": finding.subject,
        "title": kind.title,
        "evidence": finding.evidence,
        "figures": dict(finding.figures),
        "meaning": kind.meaning,
        "fix": [{"on": step.on, "run": step.run, "when": step.when or None} for step in finding.fix],
        "manual": kind.manual,
        "because": {"id": finding.because, "node": finding.because_of} if finding.because else None,
    }


@dataclass(frozen=True, slots=True)
class Block:
    """Findings that differ by their nodes alone."""

    findings: tuple[Finding, ...]

    @property
    def first(self) -> Finding:
        """The one that speaks for all."""
        return self.findings[0]

    @property
    def nodes(self) -> str:
        """Where it was seen."""
        return ", ".join(clean(finding.node) for finding in self.findings)

    def where(self, step: Step) -> str:
        """Where a step is done: on each of the nodes, if that is what their steps say."""
        if step.on == self.first.node and len(self.findings) > 1:
            return "on each"
        return f"on {clean(step.on)}" if step.on != APPLICATION else "where the application runs"


def blocks(findings: Sequence[Finding]) -> list[Block]:
    """What is the same of several nodes is told once, in the place of the first."""
    same: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        same.setdefault(_likeness(finding), []).append(finding)
    return [Block(tuple(members)) for members in same.values()]


def _likeness(finding: Finding) -> tuple[object, ...]:
    steps = tuple((step.run, step.when, step.on == finding.node or step.on) for step in finding.fix)
    return finding.id, finding.severity, finding.evidence, finding.because, finding.because_of, steps


def print_findings(
    snapshot: Snapshot, findings: Sequence[Finding], elapsed_s: float, console: Console | None = None
) -> None:
    """The findings for people, and in the last line what all of it comes to."""
    from rich.console import Console

    console = console or Console(highlight=False)
    for block in blocks(findings):
        _print_block(console, block)
    console.print(_summary(snapshot, findings, elapsed_s), markup=False, soft_wrap=True)


def _print_block(console: Console, block: Block) -> None:
    from rich.text import Text

    first, kind = block.first, CATALOGUE[block.first.id]
    head = Text()
    head.append(first.severity.upper().ljust(_INDENT - 2), _STYLES[first.severity])
    head.append(f"{block.nodes}: ", "bold")
    head.append(f"{kind.title} ")
    head.append(f"[{first.id}]", "dim")
    console.print(head, soft_wrap=True)
    if first.because:
        of = "" if first.because_of == first.node else f" of {clean(first.because_of)}"
        _print_row(console, "because", f"{first.because}{of}, above")
    _print_row(console, "seen", clean(first.evidence))
    if not first.because:
        _print_row(console, "means", kind.meaning)
    for place, codes in [] if _goes_with_its_cause(first) else _steps(block):
        _print_row(console, "do", place)
        for code in codes:
            console.print(f"{' ' * (_INDENT + 2)}{code}", style="green", markup=False, soft_wrap=True)
    _print_row(console, "manual", kind.manual)
    console.print()


def _goes_with_its_cause(finding: Finding) -> bool:
    """What is seen on the node of its cause is mended with it; what is seen elsewhere may need a step of its own."""
    return bool(finding.because) and finding.node == finding.because_of


def _steps(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Where and when, and what to paste there, steps that follow one another in one place together."""
    at, place, codes = "", "", list[str]()
    for step in block.first.fix:
        where = block.where(step)
        if step.when or where != at:
            if codes:
                yield _ended(place), codes
            at, place, codes = where, f"{where}, {clean(step.when)}" if step.when else where, []
        codes.append(clean(step.run))
    if codes:
        yield _ended(place), codes


def _ended(place: str) -> str:
    return place if place.endswith("?") else f"{place}:"


def _print_row(console: Console, label: str, value: str) -> None:
    """A label, and its value, which goes on beneath itself. A word longer than the line is not broken."""
    from rich.text import Text

    width = max(20, console.width - _INDENT)
    lines = textwrap.wrap(value, width, break_long_words=False, break_on_hyphens=False) or [""]
    row = Text(f"  {label}".ljust(_INDENT), "dim")
    row.append(f"\n{' ' * _INDENT}".join(lines), "default")
    console.print(row, soft_wrap=True)


def _summary(snapshot: Snapshot, findings: Sequence[Finding], elapsed_s: float) -> str:
    answering = sum(seen.facts is not None for seen in snapshot.nodes)
    looked = f"{answering} of {len(snapshot.nodes)} nodes answered, in {elapsed_s:.1f} s"
    counts = [
        _counted(count, severity)
        for severity in SEVERITIES
        if (count := sum(finding.severity is severity for finding in findings))
    ]
    return f"{looked}: {', '.join(counts) if counts else 'nothing is wrong'}."


def _counted(count: int, severity: Severity) -> str:
    return f"{count} critical" if severity is Severity.CRITICAL else counted(count, severity)


def clean(text: str) -> str:
    """Names come from servers: nothing in them reaches the terminal as a command to it."""
    return "".join(character if character.isprintable() else "?" for character in text)
