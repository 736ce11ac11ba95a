"""`pgfleet drill consistency`: does any read see what it must not, whatever breaks?"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import typer

from pgfleet.cli.drill import AsJson, Directory, Driver, DriverName, Replicas, Threads, check_face
from pgfleet.drill.names import CONSISTENCY

if TYPE_CHECKING:
    from pgfleet.drill.consistency.run import Trial

IN_SHORT = f"{CONSISTENCY[0].upper()}{CONSISTENCY[1:]}."


class Commits(enum.StrEnum):
    """How writers commit, as typer wants a choice."""

    both = "both"
    synchronous = "synchronous"
    asynchronous = "asynchronous"


Seconds = Annotated[
    float | None,
    typer.Option("--seconds", min=1.0, max=86_400.0, help="How long clients are at work.", show_default="60"),
]
Operations = Annotated[
    int | None,
    typer.Option("--operations", min=1, max=100_000_000, help="End after so many.", show_default="no limit"),
]
Seed = Annotated[int, typer.Option("--seed", help="Decides what is broken, and in which order.")]
Clients = Annotated[int, typer.Option("--clients", min=3, max=200, help="Every second one writes.")]
CommitsName = Annotated[Commits, typer.Option("--commits", help="Whether a commit waits for its flush.")]


def consistency(
    seconds: Seconds = None,
    operations: Operations = None,
    seed: Seed = 0,
    clients: Clients = 16,
    driver: DriverName = Driver.psycopg,
    threads: Threads = False,
    commits: CommitsName = Commits.both,
    replicas: Replicas = 3,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Let clients read and write registers and lists while replicas and primaries are killed, frozen, delayed and
    promoted at short intervals, and check the history of all they saw: own writes, bounds, order, nothing lost.

    Exit code 1: a read saw what it must not, or an acknowledged write is gone that no promotion excuses.
    """
    from pgfleet.cli.drill_run import try_consistency
    from pgfleet.drill.consistency import course

    check_face(driver, threads)
    options = course.Options(
        seconds, operations, seed, clients, driver.value, threads, course.Commits(commits.value)
    )
    _report(try_consistency(options, replicas, directory), as_json)


def _report(trial: Trial, as_json: bool) -> None:
    from pgfleet.cli.consistency_view import print_trial, record
    from pgfleet.cli.output import print_json

    if as_json:
        print_json(record(trial))
    else:
        print_trial(trial)
    if not trial.is_kept:
        raise typer.Exit(1)
