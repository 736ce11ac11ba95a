"""`pgfleet verify`: the go-live checklist over the fleet of the environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgfleet.errors import ConfigurationError, PgfleetError

if TYPE_CHECKING:
    from pgfleet.settings import Secret, Settings
    from pgfleet.verify.items import Report
    from pgfleet.verify.options import Options

SHORTEST_S = 1.5
"""A lag of a second takes longer than a second to show."""


def verify(
    seconds: Annotated[
        float,
        typer.Option(min=SHORTEST_S, max=600.0, help="How long lag and reads are looked at."),
    ] = SHORTEST_S,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="How many there must be.", show_default="those configured")
    ] = None,
    rate: Annotated[float, typer.Option(min=50.0, max=1000.0, help="Reads a second.")] = 300.0,
    callers: Annotated[int, typer.Option(min=1, max=200, help="How many callers read.")] = 8,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Write nothing, not even an empty message into the log.")
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="The monitoring API that runs.", show_default="one of its own")
    ] = None,
    token_env: Annotated[
        str, typer.Option(metavar="VARIABLE", help="The variable that holds the token of --url.")
    ] = "PGFLEET_API_TOKEN",  # noqa: S107 (the name of a variable)
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="Look whether the alert rules are loaded there.")
    ] = None,
    prometheus_token_env: Annotated[
        str | None,
        typer.Option(metavar="VARIABLE", help="The variable with its bearer token or user:password."),
    ] = None,
    drill: Annotated[
        bool, typer.Option("--drill", help="Kill replicas of a local fleet under load, and start them again.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option(help="Where the files of that local fleet are.", show_default="your state directory"),
    ] = None,
    allow_kill: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="Yes, stop a replica of any fleet: by this shell command."),
    ] = None,
    undo: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Starts that replica again. Run in any case.")
    ] = None,
    within: Annotated[
        float,
        typer.Option(min=1.0, max=3600.0, help="Seconds that it may take to go, and again to come back."),
    ] = 60.0,
    strict: Annotated[bool, typer.Option("--strict", help="An item that was skipped is a finding.")] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the report into this file too.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Run the go-live checklist over the fleet of the environment, one line an item, with what was seen.

    It changes nothing: a transaction that commits an empty message is all it writes, and --read-only leaves that out.
    Nothing is stopped without --drill or --allow-kill. Exit code 1 when an item failed.
    """
    from pgfleet.verify.asking import Site
    from pgfleet.verify.options import Commands, Options

    if (allow_kill is None) is not (undo is None):
        raise typer.BadParameter("--allow-kill and --undo belong together: what is stopped is started again")
    options = Options(
        seconds=seconds,
        replicas=replicas,
        callers=callers,
        rate=rate,
        read_only=read_only,
        site=Site(url, _token(token_env)) if url else None,
        prometheus=Site(prometheus, _needed(prometheus_token_env), "--prometheus") if prometheus else None,
        drill=drill,
        commands=Commands(allow_kill, undo) if allow_kill and undo else None,
        directory=directory,
        within_s=within,
    )
    report = _run(options, _environ(token_env, prometheus_token_env))
    _show(report, markdown, as_json)
    if not report.is_good(strict):
        raise typer.Exit(1)


def _token(variable: str) -> Secret | None:
    """The token in a variable, or in the file that it names beside it; None: there is none."""
    from pgfleet.settings.kinds import TOKEN
    from pgfleet.settings.source import Source

    source = Source(os.environ)
    token: Secret | None = source.value(variable, TOKEN)
    if source.problems:
        raise ConfigurationError(tuple(f"{name}: {why}" for name, why in source.problems.items()))
    return token


def _needed(variable: str | None) -> Secret | None:
    token = _token(variable) if variable else None
    if variable and token is None:
        raise ConfigurationError((f"{variable}: is not set, but --prometheus-token-env names it",))
    return token


def _environ(*variables: str | None) -> dict[str, str]:
    """The environment, without variables that options of this command name and that no application would read."""
    from pgfleet.settings.source import FILE
    from pgfleet.settings.strays import strays

    own = strays(name for name in variables if name)
    return {name: text for name, text in os.environ.items() if name.removesuffix(FILE) not in own}


def _run(options: Options, environ: Mapping[str, str]) -> Report:
    from pgfleet.cli.endings import ending_as_ctrl_c, undisturbed
    from pgfleet.cli.environment import router_of, show_warnings
    from pgfleet.cli.verify_api import serving
    from pgfleet.cli.verify_view import progress
    from pgfleet.verify.run import World, verify

    show_warnings()
    with ending_as_ctrl_c(), progress() as tell:
        world = World(environ, partial(_settings, environ), router_of, serving, tell, undisturbed)
        return asyncio.run(verify(world, options))


def _settings(environ: Mapping[str, str]) -> Settings:
    from pgfleet.cli.environment import without_idle_connections
    from pgfleet.settings import Settings

    return without_idle_connections(Settings.from_env(environ))


def _show(report: Report, path: Path | None, as_json: bool) -> None:
    from pgfleet.cli.verify_view import print_report, record

    if as_json:
        from pgfleet.cli.output import print_json

        print_json(record(report))
    else:
        print_report(report)
    if path is not None:
        _write(report, path)


def _write(report: Report, path: Path) -> None:
    from pgfleet.verify.markdown import markdown

    try:
        path.write_text(markdown(report), encoding="utf-8")
    except OSError as error:
        raise PgfleetError(
            f"{path} cannot be written: {error.strerror}", "Give another --markdown."
        ) from None
