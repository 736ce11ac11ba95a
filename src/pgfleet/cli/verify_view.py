"""What `pgfleet verify` shows: a line for each thing that takes a while, and the checklist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from pgfleet.cli.output import NOTHING, camel, camel_case, figures, prose, table, words
from pgfleet.verify.items import Item, Outcome, Report
from pgfleet.verify.markdown import summary

COLOURS = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow"}


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Tells on standard error what is being done: in a terminal alone, where it goes away."""
    console = Console(stderr=True, highlight=False)
    with console.status("looking at the fleet ...") as status:
        yield lambda what: status.update(f"{what} ...")


def print_report(report: Report) -> None:
    """The checklist, the endpoints, and what is worth knowing."""
    console = Console(highlight=False)
    shown = table(words("item"), words("outcome"), prose("what was seen"))
    for item in report.items:
        shown.add_row(item.title, Text(item.outcome, COLOURS[item.outcome]), _evidence(item))
    console.print(shown)
    _print_endpoints(console, report)
    for notice in report.notices:
        console.print(notice, markup=False)
    if report.notices:
        console.print()
    console.print(f"{summary(report)} in {report.took_s:.1f} s.", markup=False)


def _evidence(item: Item) -> Text:
    """What was seen, and the next step where there is one."""
    text = Text("\n".join(item.evidence))
    if item.next_step:
        text.append(f"\n> {item.next_step}", "bold")
    return text


def _print_endpoints(console: Console, report: Report) -> None:
    if not report.endpoints:
        return
    shown = table(
        words("endpoint"), words("role"), prose("address"), words("zone"), figures("weight"), words("version")
    )
    for node in report.endpoints:
        weight = NOTHING if node.weight is None else str(node.weight)
        cells = (node.name, node.role, node.address, node.zone or NOTHING, weight, node.version or NOTHING)
        shown.add_row(*map(Text, cells))
    console.print()
    console.print(shown)
    console.print()


def record(report: Report) -> dict[str, Any]:
    """All of it, with the names of the monitoring API."""
    return {
        "passed": report.is_good(),
        "timestamp": report.timestamp,
        "tookSeconds": report.took_s,
        "items": [_record(item) for item in report.items],
        "endpoints": [camel_case(asdict(endpoint)) for endpoint in report.endpoints],
        "notices": list(report.notices),
    }


def _record(item: Item) -> dict[str, Any]:
    return {
        "item": item.key,
        "title": item.title,
        "outcome": item.outcome.value,
        "evidence": list(item.evidence),
        "nextStep": item.next_step or None,
        "figures": {camel(name): value for name, value in item.figures.items()},
    }
