"""What `pgfleet drill consistency` shows: a line for each promise, what was broken, what callers were told."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from pgfleet.cli.drill_view import conclusion, print_error
from pgfleet.cli.output import camel_case, figures, number, table, words
from pgfleet.drill.consistency.course import Commits
from pgfleet.drill.consistency.nemesis import Deed
from pgfleet.drill.consistency.run import Trial
from pgfleet.drill.consistency.verdicts import Verdict
from pgfleet.drill.names import CONSISTENCY

MOST_TOLD = 5
"""Violations of one promise that are printed with their operations; JSON has more."""


_COMMITS = {
    Commits.BOTH: "every second commit asynchronous",
    Commits.SYNCHRONOUS: "synchronous commits",
    Commits.ASYNCHRONOUS: "asynchronous commits",
}


def print_trial(trial: Trial) -> None:
    """The report."""
    console = Console(highlight=False)
    console.print(f"[bold]consistency[/]: {CONSISTENCY}", soft_wrap=True)
    console.print(_conditions(trial), style="dim")
    console.print()
    console.print(_promise_table(trial))
    _print_violations(console, trial)
    console.print()
    console.print(_deed_table(trial))
    console.print()
    _print_errors(console, trial)
    console.print(_sentences(trial))
    verdicts = trial.judgement.verdicts
    console.print(conclusion(sum(not verdict.is_kept for verdict in verdicts), len(verdicts)))


def _conditions(trial: Trial) -> str:
    options = trial.options
    face = f"{options.driver}, {'threads' if options.threads else 'tasks'}"
    return f"{options.clients} clients, {_COMMITS[options.commits]}; {face}; seed {options.seed}"


def _promise_table(trial: Trial) -> Table:
    shown = table(words("promise", 50), figures("operations", 11), figures("violations", 11))
    for verdict in trial.judgement.verdicts:
        broken = f"[bold red]{verdict.broken:,}[/]" if verdict.broken else "[green]0[/]"
        shown.add_row(verdict.check.value, number(verdict.checked), broken)
    return shown


def _print_violations(console: Console, trial: Trial) -> None:
    for verdict in trial.judgement.verdicts:
        for violation in verdict.violations[:MOST_TOLD]:
            console.print(str(violation), style="red", markup=False, soft_wrap=True)
        if verdict.broken > MOST_TOLD:
            console.print(f"and {verdict.broken - MOST_TOLD:,} others of this promise", style="red")


def _deed_table(trial: Trial) -> Table:
    shown = table(words("what was done", 50), figures("times", 11))
    for deed in Deed:
        if count := trial.deeds[deed]:
            shown.add_row(deed.value, number(count))
    return shown


def _print_errors(console: Console, trial: Trial) -> None:
    """What callers were told instead of an answer, by class."""
    if not trial.failures:
        console.print("No caller saw an error.")
        return
    for failures in trial.failures:
        print_error(console, failures.count, failures.call, failures.error, failures.first)


def _sentences(trial: Trial) -> str:
    rate = trial.operations / trial.seconds
    parts = [
        f"{trial.operations:,} operations in {trial.seconds:,.0f} s: {rate:,.0f} a second.",
        f"Replicas answered {100 * trial.replica_share:.0f} % of the reads.",
    ]
    if lost := trial.judgement.lost:
        parts.append(f"Acknowledged writes that promotions lost, which no promise covers: {lost:,}.")
    if overtaken := trial.judgement.overtaken:
        parts.append(f"Commits that a replica showed before the primary: {overtaken:,}.")
    return "\n".join(parts)


def record(trial: Trial) -> Any:
    """All of it, with the names of the monitoring API."""
    options = {"commits": trial.options.commits.value}
    return camel_case(
        {"drill": "consistency", "kept": trial.is_kept}
        | asdict(trial.options)
        | options
        | {
            "ran_s": trial.seconds,
            "checked_in_s": trial.checked_in_s,
            "operations": trial.operations,
            "writes": trial.writes,
            "promises": [_promise(verdict) for verdict in trial.judgement.verdicts],
            "lost_writes": trial.judgement.lost,
            "overtaken_reads": trial.judgement.overtaken,
            "replica_read_share": trial.replica_share,
            "answers": [{"node": node, "reads": count} for node, count in sorted(trial.answers.items())],
            "deeds": [{"what": deed.value, "times": count} for deed, count in trial.deeds.items()],
            "errors": [asdict(failures) for failures in trial.failures],
        }
    )


def _promise(verdict: Verdict) -> dict[str, Any]:
    return {
        "what": verdict.check.value,
        "operations": verdict.checked,
        "violations": verdict.broken,
        "kept": verdict.is_kept,
        "proof": [str(violation).splitlines() for violation in verdict.violations],
    }
