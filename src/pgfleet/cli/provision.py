"""`pgfleet provision`: from one primary to a fleet, by one file."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pgfleet.cli.endings import ending_as_ctrl_c
from pgfleet.errors import ProvisionError
from pgfleet.provision.env import Format

if TYPE_CHECKING:
    from pgfleet.cli.provision_fleet import Wanted
    from pgfleet.provision.plan import Plan

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Makes the replicas that fleet.toml asks for. Safe to run twice, and to go on with after it was ended.",
)

File = Annotated[Path, typer.Option("--file", help="What is wanted.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before something is removed.")]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="CONSENT", help="Let a step do this, for instance restart. Repeatable."),
]
DECLARATION = Path("fleet.toml")


@app.command()
def plan(
    file: File = DECLARATION,
    check: Annotated[
        bool, typer.Option("--check", help="Exit code 1 when there is something to do.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is to be done, how long it takes, and the commands that do the same by hand. Changes nothing.

    Exit code 2 when it cannot be done.
    """
    from pgfleet.cli.provision_view import plan_json, print_plan
    from pgfleet.provision.plan import plan_apply

    async def go(wanted: Wanted) -> Plan:
        return await plan_apply(wanted.provider)

    wanted, made = _with(file, go)
    if as_json:
        _print_json(plan_json(wanted.declaration, made))
    else:
        print_plan(made)
    _refuse_problems(made)
    if check and made.steps:
        raise typer.Exit(1)


@app.command()
def apply(file: File = DECLARATION, allow: Allow = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Do it. What is there already stays; what an earlier apply left half done is finished.

    It ends when every replica streams and is in the fleet file, if there is one. Exit code 2 when a step failed: apply
    again.
    """
    from pgfleet.cli.provision_fleet import hidden_environment
    from pgfleet.cli.provision_view import Lines, applied_json, print_applied
    from pgfleet.provision.apply import apply as carry_out
    from pgfleet.provision.plan import plan_apply

    lines = Lines()

    async def go(wanted: Wanted) -> tuple[Plan, dict[str, str]]:
        made = await plan_apply(wanted.provider)
        _refuse_problems(made)
        _confirm(made, yes)
        await carry_out(wanted.provider, made, lines, allow or ())
        return made, await hidden_environment(wanted)

    wanted, (made, environment) = _with(file, go)
    if as_json:
        _print_json(applied_json(wanted.declaration, made, lines, environment))
    else:
        print_applied(wanted.declaration, made, environment, wanted.fleet_file)


@app.command()
def verify(file: File = DECLARATION, as_json: AsJson = False) -> None:
    """Check that what is there is what the file says, and that every replica streams and answers.

    Exit code 1 when it is not so.
    """
    from pgfleet.cli.provision_check import check
    from pgfleet.cli.provision_view import print_findings

    wanted, findings = _with(file, check)
    if as_json:
        _print_json({"fleet": wanted.declaration.name, **findings.json()})
    else:
        print_findings(findings)
    if not findings.good:
        raise typer.Exit(1)


@app.command()
def destroy(file: File = DECLARATION, allow: Allow = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove what this file made, and nothing else: its replicas, their slots, their lines in the fleet file.

    Never the primary. Readers leave a replica before it ends.
    """
    from pgfleet.cli.provision_view import Lines, applied_json
    from pgfleet.provision.apply import apply as carry_out
    from pgfleet.provision.plan import plan_destroy

    lines = Lines()

    async def go(wanted: Wanted) -> Plan:
        made = await plan_destroy(wanted.provider)
        _refuse_problems(made)
        _confirm(made, yes)
        await carry_out(wanted.provider, made, lines, allow or ())
        return made

    wanted, made = _with(file, go)
    if as_json:
        _print_json(applied_json(wanted.declaration, made, lines, {}))
    elif made.steps:
        typer.echo(f"Nothing of {wanted.declaration.name} is left but its primary.")
    else:
        typer.echo("There is nothing that this file made.")


@app.command()
def env(
    file: File = DECLARATION,
    way: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.DOTENV,
    as_files: Annotated[
        Path | None,
        typer.Option(
            help="Put the secrets into files of this directory, and print NAME_FILE.", show_default=False
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Name the fleet file in the place of the replicas.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the environment of an application that uses the fleet, passwords included."""
    from pgfleet.cli.provision_fleet import environment_of
    from pgfleet.provision.env import as_files as in_files
    from pgfleet.provision.env import write_files, written, written_files

    async def go(wanted: Wanted) -> dict[str, str]:
        return await environment_of(wanted, follow=follow)

    wanted, variables = _with(file, go)
    files: dict[str, str] = {}
    if as_files is not None:
        directory = as_files if way is Format.K8S else as_files.absolute()
        files, variables = in_files(variables, str(directory))
        if way is not Format.K8S:
            write_files(files, directory)
    if as_json:
        _print_json({"fleet": wanted.declaration.name, "environment": variables})
    elif files and way is Format.K8S:
        typer.echo(written_files(files, variables, wanted.declaration.name), nl=False)
    else:
        typer.echo(written(variables, way, wanted.declaration.name), nl=False)


def _with(file: Path, work: Callable[[Wanted], Coroutine[Any, Any, T]]) -> tuple[Wanted, T]:
    """What the file wants, and what the work on it gave. A request to end is Ctrl-C: the next apply goes on."""
    from pgfleet.cli.provision_fleet import wanted_by

    wanted = wanted_by(file, os.environ)

    async def go() -> T:
        try:
            return await work(wanted)
        finally:
            await wanted.provider.close()

    with ending_as_ctrl_c():
        return wanted, asyncio.run(go())


def _refuse_problems(made: Plan) -> None:
    if made.problems:
        raise ProvisionError("\n".join(made.problems), "Nothing was changed.")


def _confirm(made: Plan, yes: bool) -> None:
    """Ask before something goes. Whoever cannot be asked says --yes."""
    if yes or not made.removals:
        return
    for step in made.removals:
        typer.echo(step.title, err=True)
    if not sys.stdin.isatty():
        raise ProvisionError(
            "this removes something, and nobody can be asked", "Look at the plan, and add --yes"
        )
    with ending_as_ctrl_c():  # else the event loop takes Ctrl-C for itself, and the question stays
        typer.confirm("Remove these?", abort=True, err=True)


def _print_json(value: Any) -> None:
    from pgfleet.cli.output import print_json

    print_json(value)
