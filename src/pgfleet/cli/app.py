"""All commands put together, and what an error of pgfleet looks like to the person who typed one."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pgfleet import __version__
from pgfleet.cli.consistency import IN_SHORT as CONSISTENCY_IN_SHORT
from pgfleet.cli.consistency import consistency
from pgfleet.cli.demo import demo
from pgfleet.cli.doctor import IN_SHORT as DOCTOR_IN_SHORT
from pgfleet.cli.doctor import doctor
from pgfleet.cli.drill import app as drill
from pgfleet.cli.explain import explain
from pgfleet.cli.local import app as local
from pgfleet.cli.provision import app as provision
from pgfleet.cli.provision_promote import IN_SHORT as PROMOTION_IN_SHORT
from pgfleet.cli.provision_promote import promote
from pgfleet.cli.replica import app as replica
from pgfleet.cli.serve import serve
from pgfleet.cli.status import status
from pgfleet.cli.verify import verify
from pgfleet.errors import PgfleetError

NOT_DONE = 2


class Commands(TyperGroup):
    """Turns an error of pgfleet into its message, the next step and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except PgfleetError as error:
            typer.secho(f"error: {error.message}", fg="red", err=True)
            if error.hint:
                typer.echo(f"hint: {error.hint}", err=True)
            raise typer.Exit(NOT_DONE) from None


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # its boxes cost a third of the time to start
    pretty_exceptions_enable=False,  # they show the values of variables, and some of these are passwords
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pgfleet {__version__}")
        raise typer.Exit


@app.callback()
def pgfleet(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end."),
    ] = False,
) -> None:
    """Read replicas for Python applications on PostgreSQL: provision, route, watch.

    The fleet is in the environment: DATABASE_URL, USE_READ_REPLICAS, READ_REPLICA_1_CONNECTION_STRING, ...
    """
    # What the log says of a node, every command says better itself.
    logging.getLogger("pgfleet").addHandler(logging.NullHandler())


drill.command(short_help=CONSISTENCY_IN_SHORT)(consistency)
provision.command(short_help=PROMOTION_IN_SHORT)(promote)
app.command(short_help="A fleet, an application on it, and what both do, live.")(demo)
app.add_typer(drill, name="drill", short_help="Break something under load, and see what callers noticed.")
app.add_typer(local, name="local", short_help="A fleet on this machine, for development and tests.")
app.add_typer(provision, name="provision", short_help="From one primary to a fleet, by one file.")
app.add_typer(
    replica, name="replica", short_help="The replicas of the fleet file, which all processes follow."
)
app.command(short_help=DOCTOR_IN_SHORT)(doctor)
app.command(short_help="The monitoring API over the fleet of the environment.")(serve)
app.command(short_help="How every node is.")(status)
app.command(short_help="Which node a read would take now, and why.")(explain)
app.command(short_help="The go-live checklist, with what was seen of each item.")(verify)
