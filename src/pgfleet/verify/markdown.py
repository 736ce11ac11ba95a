"""The report as Markdown: the checklist ticked, and the endpoints for the runbook."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.verify.items import Endpoint, Item, Outcome, Report

BOXES = {Outcome.PASSED: "x", Outcome.FAILED: " ", Outcome.SKIPPED: " "}
NOTHING = "-"


def markdown(report: Report) -> str:
    """The whole report, to be kept beside the runbook."""
    return "\n".join(_lines(report)) + "\n"


def summary(report: Report) -> str:
    """The counts in a sentence."""
    passed, failed, left = (report.count(outcome) for outcome in Outcome)
    told = [f"{passed} of {len(report.items)} items passed"]
    told += [f"{failed} failed"] if failed else []
    told += [f"{left} skipped"] if left else []
    return ", ".join(told)


def _lines(report: Report) -> Iterator[str]:
    yield from (
        "# Verification checklist",
        "",
        f"{summary(report)}. {report.timestamp}, {report.took_s:.1f} s.",
        "",
    )
    for item in report.items:
        yield from _item(item)
    if report.endpoints:
        yield from ("", "## Endpoints", "", "| Node | Role | Address | Zone | Weight | PostgreSQL |")
        yield "|---|---|---|---|---|---|"
        yield from map(_endpoint, report.endpoints)
    if report.notices:
        yield from ("", "## Notices", "", *(f"- {_escaped(notice)}" for notice in report.notices))


def _item(item: Item) -> Iterator[str]:
    yield f"- [{BOXES[item.outcome]}] **{item.title}**: {item.outcome}"
    yield from (f"    - {_escaped(line)}" for line in item.evidence)
    if item.next_step:
        yield f"    - Next: {_escaped(item.next_step)}"


def _endpoint(node: Endpoint) -> str:
    weight = NOTHING if node.weight is None else str(node.weight)
    cells = (node.name, node.role, node.address, node.zone or NOTHING, weight, node.version or NOTHING)
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """What a driver said may hold anything."""
    flat = " ".join(text.split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
