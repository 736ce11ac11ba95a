"""How things look in a terminal: one table style, one way to write numbers, one way to print JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column, Table

NOTHING = "-"
"""In the place of a figure that was not measured. Never 0."""

_COLOURS = {"healthy": "green", "warning": "yellow", "critical": "red", "unhealthy": "red", "unknown": "dim"}


def table(*columns: Column) -> Table:
    """An empty table with these columns."""
    from rich import box
    from rich.table import Table

    return Table(
        *columns,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        header_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def words(header: str, width: int = 0) -> Column:
    """A column of names, at least so wide."""
    from rich.table import Column

    return Column(header, min_width=width or None, no_wrap=True)


def figures(header: str, width: int = 0) -> Column:
    """A column of numbers, which stand to the right."""
    from rich.table import Column

    return Column(header, min_width=width or None, no_wrap=True, justify="right")


def prose(header: str) -> Column:
    """A column of sentences, which goes on in the next line."""
    from rich.table import Column

    return Column(header, overflow="fold")


def coloured(status: str) -> str:
    """The status in the colour of how bad it is, as rich's markup."""
    colour = _COLOURS.get(status)
    return f"[{colour}]{status}[/]" if colour else status


def number(value: float | None, decimals: int = 0) -> str:
    """A figure with its thousands apart; `-` for one that was not measured."""
    return NOTHING if value is None else f"{value:,.{decimals}f}"


def takes_reads(node: Mapping[str, Any], is_last: bool) -> str:
    """A node's part in a read: `node` is its row of the routing report, `is_last` the primary behind replicas."""
    if not node["candidate"]:
        return f"no: {node['reason']}"
    return "when no replica can" if is_last else "yes"


def print_details(console: Console, nodes: Iterable[Mapping[str, Any]]) -> None:
    """What the driver said of each node in trouble, a line each."""
    for node in nodes:
        if node["detail"]:
            console.print(f"{node['name']}: {node['detail']}", style="dim", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2))


def timestamp() -> str:
    """Now, as the monitoring API writes it: UTC, milliseconds, `Z`."""
    return f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def camel_case(value: Any) -> Any:
    """The same value with its keys as the monitoring API has them: `lag_s` is `lagSeconds`."""
    if isinstance(value, dict):
        return {camel(key): camel_case(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [camel_case(item) for item in value]
    return value


def camel(name: str) -> str:
    """One such key."""
    first, *others = (f"{name}econds" if name.endswith("_s") else name).split("_")
    return first + "".join(word.capitalize() for word in others)
