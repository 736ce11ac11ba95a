"""What the demo shows: a table that stands still in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pgfleet.cli.demo_fleet import DemoFleet
from pgfleet.cli.output import coloured, figures, number, table, words
from pgfleet.demo.figures import Figures, KindFigures, NodeFigures
from pgfleet.demo.hospitality import ORGS
from pgfleet.demo.tally import Tally

LIVE_INTERVAL_S = 0.5
LINE_INTERVAL_S = 2.0
EVENTS = 3
API = "/v1/system/database"


class View:
    """Prints to standard output, by what that is."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._events: deque[str] = deque(maxlen=EVENTS)
        self._before: dict[str, NodeFigures] = {}
        self._live: Live | None = None
        self.interval_s = LIVE_INTERVAL_S if self._console.is_terminal else LINE_INTERVAL_S

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, soft_wrap=True)

    def busy(self, text: str) -> AbstractContextManager[Any]:
        """What takes a moment."""
        if self._console.is_terminal:
            return self._console.status(text)
        self.say(text)
        return nullcontext()

    def introduce(self, fleet: DemoFleet, url: str, token: str) -> None:
        """What runs, where the API is, what to try."""
        names = fleet.local.names
        self.say(
            f"[bold]A primary and {replicas(len(names) - 1)}[/] of PostgreSQL {fleet.local.postgresql}.\n"
            f"{ORGS:,} organisations book hotel rooms on them.\n\n"
            f"API    {url}\n"
            f"token  {token}\n"
            f"ask    curl -H 'Authorization: Bearer {token}' \\\n"
            f"         {url}{API}/replicas/lag\n"
        )
        for name in names[1:][:2][-1:]:
            self.say(
                "In a second terminal, break something and mend it:\n"
                f"       {command()} local kill {name}\n"
                f"       {command()} local restart {name}\n"
            )

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the figures for the length of the block."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def show(self, now: Figures) -> None:
        """The figures of this moment, and what has changed since the last."""
        events = list(self._changes(now))
        self._events.extend(events)
        if self._live:
            self._live.update(screen(now, tuple(self._events)), refresh=True)
            return
        for event in events:
            self.say(event)
        self.say(line(now))

    def conclude(self, now: Figures, tally: Tally) -> None:
        """What came of it."""
        self._console.print(tables(now))
        self.say(summary(now))
        if tally.last_error and (now.reads.failed or now.writes.failed):
            self._console.print(f"the last error: {tally.last_error}", markup=False, style="red")

    def _changes(self, now: Figures) -> Iterator[str]:
        for node in now.nodes:
            before = self._before.get(node.name, node)
            if node.role and node.role != before.role:
                yield f"{now.elapsed_s:6.1f} s  {node.name} is a {node.role} now"
            if node.status != before.status:
                reason = f": {node.reason}" if node.reason else ""
                yield f"{now.elapsed_s:6.1f} s  {node.name} is {coloured(node.status)}{reason}"
            self._before[node.name] = node


def screen(now: Figures, events: tuple[str, ...]) -> Group:
    """The whole picture, of as many lines at every moment."""
    told = [*events, *[""] * (EVENTS - len(events))]
    return Group(
        tables(now),
        Text.from_markup(f"{share(now)}\n{read_backs(now)}\n"),
        Text.from_markup("\n".join(told)),
        Text(f"{now.elapsed_s:6.0f} s  Ctrl-C ends the demo", style="dim"),
    )


def tables(now: Figures) -> Group:
    """The nodes, and what the application has of them."""
    return Group(node_table(now), "", kind_table(now), "")


def node_table(now: Figures) -> Table:
    """A line for each node."""
    shown = table(
        words("node", 9),
        words("role", 7),
        words("status", 9),
        figures("lag s", 6),
        figures("reads/s", 7),
        figures("reads", 9),
        figures("share %", 7),
        figures("in use", 7),
    )
    for node in now.nodes:
        shown.add_row(
            node.name,
            node.role,
            coloured(node.status),
            number(node.lag_s, 3),
            number(node.reads_per_s),
            number(node.reads),
            number(100 * node.read_share, 1),
            f"{node.in_use} / {node.max_connections}",
        )
    return shown


def kind_table(now: Figures) -> Table:
    """A line for the reads and one for the writes, as the application has them."""
    shown = table(
        words("", 9),
        figures("per s", 7),
        figures("done", 9),
        figures("failed", 6),
        figures("p50 ms", 7),
        figures("p95 ms", 7),
    )
    for name, kind in (("reads", now.reads), ("writes", now.writes)):
        failed = f"[red]{kind.failed:,}[/]" if kind.failed else "0"
        shown.add_row(name, number(kind.per_s), number(kind.done), failed, *_percentiles(kind))
    return shown


def line(now: Figures) -> str:
    """The figures in one line, for a log."""
    p50, p95 = _percentiles(now.reads)
    return (
        f"{now.elapsed_s:6.1f} s  {now.reads.per_s:4.0f} reads/s  p50 {p50} ms  p95 {p95} ms  "
        f"on replicas {number(_percent(now.replica_share), 1)} %  lost {now.reads.failed}  stale {now.stale}"
    )


def summary(now: Figures) -> str:
    """What came of the run, in three lines."""
    return (
        f"{now.elapsed_s:.0f} s: {now.reads.done:,} reads, {now.reads.failed:,} lost reads, {now.stale:,} stale reads; "
        f"{now.writes.done:,} writes, {now.writes.failed:,} failed.\n{share(now)}\n{read_backs(now)}"
    )


def share(now: Figures) -> str:
    """How much of the reading the replicas did."""
    return f"Replicas answered {number(_percent(now.replica_share), 1)} % of the reads."


def read_backs(now: Figures) -> str:
    """Whether anybody missed a booking just made."""
    stale = f"[red]{now.stale:,}[/]" if now.stale else "0"
    return f"{now.read_back:,} bookings were read by their organisation at once: {stale} of them stale."


def replicas(count: int) -> str:
    """So many of them, in words that fit."""
    return f"{count} replica{'s' if count != 1 else ''}"


def command() -> str:
    """What to type for this very `pgfleet`."""
    typed, found = Path(sys.argv[0]), shutil.which("pgfleet")
    is_on_path = found is not None and typed.exists() and Path(found).resolve() == typed.resolve()
    return str(typed) if typed.name == "pgfleet" and not is_on_path else "pgfleet"


def _percentiles(kind: KindFigures) -> tuple[str, str]:
    return number(kind.p50_ms, 1), number(kind.p95_ms, 1)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
