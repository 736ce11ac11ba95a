"""What a benchmark found, what it must reach, and how both are shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. Without a limit it is there to compare with."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False
    """The limit is a floor, not a ceiling."""
    rival: float | None = None
    """What hasql reached in the same run."""
    detail: str = ""

    @property
    def missed(self) -> bool:
        """Whether it had to reach a limit, and did not."""
        if self.limit is None:
            return False
        return self.value < self.limit if self.at_least else self.value > self.limit

    @property
    def verdict(self) -> str:
        """`ok` or `MISSED`; nothing when there is no limit."""
        if self.limit is None:
            return ""
        return "MISSED" if self.missed else "ok"


def as_json(name: str, machine: dict[str, object], figures: Sequence[Figure]) -> str:
    """The whole report as one JSON object."""
    found = [{**_finite(asdict(figure)), "verdict": figure.verdict} for figure in figures]
    return json.dumps({"benchmark": name, "machine": machine, "figures": found}, indent=2)


def _finite(fields: dict[str, object]) -> dict[str, object]:
    """JSON knows no infinity: what never came is null."""
    return {key: None if value == inf else value for key, value in fields.items()}


def show(name: str, machine: dict[str, object], figures: Sequence[Figure]) -> None:
    """Print the report as a table."""
    console = Console(width=None if Console().is_terminal else 150)
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), style="dim", highlight=False)
    if machine["busy"]:
        console.print("The machine is busy: times are too long, and a ratio says less.", style="yellow")
    table = Table(title=name, title_justify="left")
    for heading in ("figure", "measured", "must be", "", "hasql", "detail"):
        table.add_column(heading, justify="right" if heading in ("measured", "must be", "hasql") else "left")
    for figure in figures:
        style = "bold red" if figure.missed else None
        table.add_row(*_cells(figure), style=style)
    console.print(table)


def _cells(figure: Figure) -> tuple[str, ...]:
    limit = "" if figure.limit is None else f"{'>=' if figure.at_least else '<='} {figure.limit:g}"
    rival = "" if figure.rival is None else _shown(figure.rival, figure.unit)
    return figure.what, _shown(figure.value, figure.unit), limit, figure.verdict, rival, figure.detail


def _shown(value: float, unit: str) -> str:
    if value == inf:
        return "never"
    return f"{value:.0f}{unit}" if unit in ("", "/s") else f"{value:.2f} {unit}"
