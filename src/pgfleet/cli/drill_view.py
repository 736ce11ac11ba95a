"""What a drill shows: one line for each thing that is done while it runs, and tables at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf, isfinite
from time import monotonic

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pgfleet.cli.output import NOTHING, figures, number, table, words
from pgfleet.drill.promises import Verdict
from pgfleet.drill.run import Drill
from pgfleet.drill.summary import CallFigures, NodeFigures, Summary, summary

NEVER = "never"
TITLES = {
    "fetch": "fetch",
    "read": "read()",
    "write": "write()",
    "bounded": "bounded",
    "slow": "slow fetch",
}
MOST_ERRORS = 6


class View:
    """Tells on standard error what is being done, so that standard output holds the report alone."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._began_s = monotonic()

    def tell(self, what: str) -> None:
        """One thing that happens now."""
        self._console.print(f"{monotonic() - self._began_s:6.1f} s  {what}", markup=False, soft_wrap=True)

    @contextmanager
    def running(self, what: str) -> Iterator[None]:
        """What takes a while, with a clock in a terminal."""
        self._began_s = monotonic()
        if not self._console.is_terminal:
            self._console.print(what, markup=False, soft_wrap=True)
            yield
            return
        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
        with Progress(*columns, console=self._console, transient=True) as progress:
            progress.add_task(what)
            yield


def print_drills(drills: list[Drill]) -> None:
    """A report for each, and with several of them one line on all."""
    console = Console(highlight=False)
    for drill in drills:
        _print_drill(console, drill)
    if len(drills) > 1:
        broken = [drill.name for drill in drills if not drill.is_kept]
        told = f"broken in {', '.join(broken)}" if broken else "all kept"
        console.print(f"{len(drills)} drills: {told}.", style="red" if broken else "green", soft_wrap=True)


def _print_drill(console: Console, drill: Drill) -> None:
    found = summary(drill.record)
    console.print(f"[bold]{drill.name}[/]: {drill.about}")
    console.print(_conditions(drill), style="dim")
    console.print()
    for event in found.events:
        console.print(f"{event.at_s:7.1f} s  {event.what}", markup=False)
    console.print()
    is_watched = drill.record.is_watched
    console.print(_call_table(found.calls, "all the time" if is_watched else "from the fault on"))
    _print_errors(console, found)
    console.print()
    console.print(_watched_nodes(found.nodes) if is_watched else _node_table(found.nodes))
    if sentence := _sentence(drill, found):
        console.print(sentence)
    console.print()
    console.print(_promise_table(drill.verdicts))
    console.print(f"{_conclusion(drill)}\n")


def _conditions(drill: Drill) -> str:
    options = drill.options
    face = f"{options.driver}, {'threads' if options.threads else 'tasks'}"
    others = {group.kind.value: group.per_s for group in drill.record.groups[1:]}
    beside = "".join(f", {rate:g} {TITLES[kind]}" for kind, rate in others.items())
    hedged = ", hedged" if options.hedge else ""
    return f"{options.callers} callers, {options.rate:g} fetch{beside} a second; {face}{hedged}"


def _call_table(calls: Iterable[CallFigures], when: str) -> Table:
    """What the callers saw, a line for each kind of call."""
    shown = table(
        words(when, 17),
        figures("calls", 6),
        figures("errors", 6),
        figures("in time %", 9),
        figures("p50 ms", 6),
        figures("p99 ms", 7),
        figures("worst s", 7),
        figures("gap s", 7),
    )
    for call in calls:
        shown.add_row(
            TITLES[call.call],
            number(call.calls),
            f"[red]{call.errors:,}[/]" if call.errors else "0",
            number(call.good_percent, 2),
            number(call.p50_ms, 1),
            number(call.p99_ms, 1),
            _time(call.longest_wait_s, 2),
            _time(call.longest_gap_s),
        )
    return shown


def _node_table(nodes: Iterable[NodeFigures]) -> Table:
    """Before, during and after."""
    shown = table(
        words("answers (r, w)", 14),
        *(figures(header, 14) for header in ("before", "during", "after")),
        figures("out s", 6),
        figures("back s", 6),
    )
    for node in nodes:
        shown.add_row(
            node.node,
            _answers(node.reads_before, node.writes_before),
            _answers(node.reads_during, node.writes_during),
            _answers(node.reads_after, node.writes_after),
            _time(node.out_after_s),
            _time(node.back_after_s),
        )
    return shown


def _watched_nodes(nodes: Iterable[NodeFigures]) -> Table:
    shown = table(words("node", 17), figures("reads", 9))
    for node in nodes:
        shown.add_row(node.node, number(node.reads_during))
    return shown


def _promise_table(verdicts: Iterable[Verdict]) -> Table:
    shown = table(words("promise", 50), figures("measured", 9), figures("must be", 9), words(""))
    for verdict in verdicts:
        promise = verdict.promise
        sign = ">=" if promise.at_least else "<="
        shown.add_row(
            promise.what,
            _figure(verdict.value, promise.unit),
            f"{sign} {promise.limit:g}{_unit(promise.unit)}" if promise.limit else "0",
            "[green]kept[/]" if verdict.is_kept else "[bold red]BROKEN[/]",
        )
    return shown


def _print_errors(console: Console, found: Summary) -> None:
    """What failed, by kind, with the first words of each."""
    for error in found.errors[:MOST_ERRORS]:
        print_error(console, error.count, TITLES[error.kind], error.error, error.first)
    if left := found.errors[MOST_ERRORS:]:
        console.print(f"and {sum(error.count for error in left):,} of {len(left)} other kinds", style="red")


def print_error(console: Console, count: int, call: str, error: str, first: str) -> None:
    """One kind of error in one line: how often, in which call, of which class, and the first words."""
    line = f"{count:,} x {call}: {error}: {first}"
    console.print(line, style="red", markup=False, overflow="ellipsis", no_wrap=True)


def _sentence(drill: Drill, found: Summary) -> str:
    """What the tables have no column for."""
    parts = []
    if any(answered.writes_before for answered in found.nodes):
        parts.append(f"Stalest read {found.stalest_read_s:.3f} s.")
    if found.lost_writes is not None and drill.record.promoted_s is not None:
        parts.append(f"Commits lost with the old primary: {found.lost_writes:,}.")
    parts += [f"{name[0].upper()}{name[1:]}: {value:.3g}." for name, value in drill.record.facts.items()]
    return " ".join(parts)


def _conclusion(drill: Drill) -> str:
    return conclusion(sum(not verdict.is_kept for verdict in drill.verdicts), len(drill.verdicts))


def conclusion(broken: int, count: int) -> str:
    """The last line: how many promises of so many were broken."""
    if broken:
        return f"[bold red]{broken} of {count} promises broken.[/]"
    return "[green]The promise is kept.[/]" if count == 1 else f"[green]All {count} promises are kept.[/]"


def _answers(reads: int, writes: int) -> str:
    parts = [f"{count:,} {letter}" for count, letter in ((reads, "r"), (writes, "w")) if count]
    return "  ".join(parts) or "0"


def _time(time_s: float | None, decimals: int = 3) -> str:
    if time_s is None:
        return NOTHING
    return f"{time_s:,.{decimals}f}" if isfinite(time_s) else NEVER


def _figure(value: float, unit: str) -> str:
    if value == inf:
        return NEVER
    return f"{value:,.0f}" if not unit else f"{value:,.{3 if unit == 's' else 2}f}{_unit(unit)}"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""
