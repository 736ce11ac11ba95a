"""`pgfleet drill`: break something under load, and see what the callers noticed."""

from __future__ import annotations

import asyncio
import enum
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgfleet.drill.names import DRILLS
from pgfleet.errors import PgfleetError

if TYPE_CHECKING:
    from pgfleet.drill.run import Drill, Options

MOST_REPLICAS = 16

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Break something under load, and see what the callers noticed. Exit code 1: a promise was broken.",
)


class Driver(enum.StrEnum):
    """The drivers, as typer wants a choice."""

    psycopg = "psycopg"
    asyncpg = "asyncpg"


Seconds = Annotated[
    float | None, typer.Option("--seconds", min=1.0, max=3600.0, help="How long the fault lasts.")
]
Rate = Annotated[
    float, typer.Option("--rate", min=1.0, max=10_000.0, help="Fetches a second, of all callers.")
]
Callers = Annotated[
    int, typer.Option("--callers", min=1, max=200, help="How many callers of fetch there are.")
]
DriverName = Annotated[Driver, typer.Option("--driver", help="The driver of the router.")]
Threads = Annotated[bool, typer.Option("--threads", help="The router for threads; needs psycopg.")]
Hedge = Annotated[bool, typer.Option("--hedge", help="Send a fetch that is late to a second replica too.")]
Replicas = Annotated[
    int, typer.Option("--replicas", min=1, max=MOST_REPLICAS, help="How many, in a fleet of the drill's own.")
]
Directory = Annotated[
    Path | None,
    typer.Option(
        "--directory", help="Break the local fleet in here, and mend it.", show_default="a fleet of its own"
    ),
]
AgainstEnvironment = Annotated[
    bool,
    typer.Option("--against-environment", help="Use the fleet of the environment. Asks for --yes-break-it."),
]
YesBreakIt = Annotated[bool, typer.Option("--yes-break-it", help="Yes, break a fleet that is not local.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _command(name: str, about: str) -> None:
    """The command of one drill, or of all of them; they differ in nothing but what they play."""

    def drill(
        seconds: Seconds = None,
        rate: Rate = 320.0,
        callers: Callers = 16,
        driver: DriverName = Driver.psycopg,
        threads: Threads = False,
        hedge: Hedge = False,
        replicas: Replicas = 3,
        directory: Directory = None,
        against_environment: AgainstEnvironment = False,
        yes_break_it: YesBreakIt = False,
        as_json: AsJson = False,
    ) -> None:
        from pgfleet.cli.drill_run import on_environment, on_local_fleet

        options = _options(seconds, rate, callers, driver, threads, hedge)
        if against_environment:
            drills = on_environment(name, options, yes_break_it)
        else:
            drills = on_local_fleet(name, options, replicas, directory)
        _report(drills, as_json, is_all=name == "all")

    sentence = f"{about[0].upper()}{about[1:]}."
    app.command(name, help=sentence, short_help=sentence)(drill)


for _name, _about in DRILLS.items():
    _command(_name, _about)
_command("all", "all of these, one after the other")


@app.command(short_help="Read from the fleet of the environment while you break something.")
def watch(
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="End by itself after so many.", show_default="until Ctrl-C")
    ] = None,
    rate: Rate = 50.0,
    callers: Callers = 16,
    driver: DriverName = Driver.psycopg,
    threads: Threads = False,
    hedge: Hedge = False,
    sql: Annotated[
        str | None,
        typer.Option(help="The read; needs no arguments.", show_default="which server answers"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read from the fleet of the environment while somebody breaks it, and report at the end, or at Ctrl-C.

    It breaks nothing and writes nothing.
    """
    from pgfleet.cli.drill_view import View
    from pgfleet.cli.endings import ending_as_ctrl_c
    from pgfleet.cli.environment import show_warnings
    from pgfleet.drill.environment import watch
    from pgfleet.settings import Settings

    settings, view = Settings.from_env(), View()
    show_warnings()
    options = _options(seconds, rate, callers, driver, threads, hedge)
    with ending_as_ctrl_c(), view.running("watch: the fleet of the environment"):
        drill = asyncio.run(watch(settings, options, sql, view.tell))
    _report([drill], as_json)


def _options(
    seconds: float | None, rate: float, callers: int, driver: Driver, threads: bool, hedge: bool
) -> Options:
    from pgfleet.drill.run import Options

    check_face(driver, threads)
    return Options(seconds, rate, callers, driver.value, threads, hedge)


def check_face(driver: Driver, threads: bool) -> None:
    """Raises PgfleetError for one that is not there."""
    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # the report says it better
    if threads and driver is Driver.asyncpg:
        raise PgfleetError("asyncpg has no threads", "leave out --threads, or add --driver psycopg")


def _report(drills: list[Drill], as_json: bool, is_all: bool = False) -> None:
    from pgfleet.cli.drill_json import record
    from pgfleet.cli.drill_view import print_drills

    if as_json:
        from pgfleet.cli.output import print_json

        records = [record(drill) for drill in drills]
        print_json({"kept": all(d.is_kept for d in drills), "drills": records} if is_all else records[0])
    else:
        print_drills(drills)
    if not all(drill.is_kept for drill in drills):
        raise typer.Exit(1)
