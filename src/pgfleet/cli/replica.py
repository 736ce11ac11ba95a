"""`pgfleet replica`: edits the fleet file that all processes follow."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgfleet.cli.output import NOTHING, figures, print_json, prose, table, words
from pgfleet.errors import ConfigurationError
from pgfleet.settings.variables import FLEET_FILE

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pgfleet.settings import NodeSettings
    from pgfleet.settings.fleet_document import FleetDocument

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The replicas of the fleet file. Every running process follows it within about a second.",
)

File = Annotated[
    Path | None, typer.Option("--file", envvar=FLEET_FILE, help="The fleet file.", show_default=False)
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the replica is called.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON: the file as it is now.")]


@app.command()
def add(
    name: Name,
    dsn: Annotated[
        str | None,
        typer.Argument(
            metavar="DSN", help="Its connection string; -: on standard input.", show_default=False
        ),
    ] = None,
    dsn_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Read it from this variable instead.")
    ] = None,
    dsn_file: Annotated[
        Path | None, typer.Option(help="Leave it in this file, which the fleet file then names.")
    ] = None,
    weight: Annotated[int | None, typer.Option(help="Its part of the reads.", show_default="1")] = None,
    zone: Annotated[str | None, typer.Option(help="Where it stands.")] = None,
    max_connections: Annotated[
        int | None, typer.Option(help="Most connections of a pool.", show_default="50")
    ] = None,
    min_connections: Annotated[
        int | None, typer.Option(help="Connections kept open.", show_default="5")
    ] = None,
    shared_endpoint: Annotated[
        bool, typer.Option("--shared-endpoint", help="Several replicas stand behind its address.")
    ] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not ask the server first.")] = False,
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Add a replica, once its server has answered as a replica of this cluster.

    A command line is seen by everybody on the machine: give a connection string that holds a password by -, --dsn-env
    or --dsn-file. Exit code 1: the server is not there, or no replica of this cluster.
    """
    values: dict[str, Any] = {"name": name, **_place(dsn, dsn_env, dsn_file)}
    wishes = {
        "weight": weight, "zone": zone, "max_connections": max_connections, "min_connections": min_connections,
        "shared_endpoint": shared_endpoint or None,
    }  # fmt: skip
    values |= {key: value for key, value in wishes.items() if value is not None}
    path = _path(file)
    if not no_check:
        trial = _document(path)
        trial.add(values)
        _ask(name, trial.replicas())
    with _editing(path) as document:
        document.add(values)
    _tell(path, f"{name} is added: every process that follows {path} takes it in.", as_json)


@app.command()
def drain(name: Name, file: File = None, as_json: AsJson = False) -> None:
    """Send no new read to a replica. What is lent there ends in its own time; it stays watched."""
    path = _path(file)
    with _editing(path) as document:
        changed = document.drain(name, True)
    said = f"{name} is drained: it gets no new read from any process that follows {path}."
    _tell(path, said if changed else f"{name} is drained already.", as_json)


@app.command()
def undrain(name: Name, file: File = None, as_json: AsJson = False) -> None:
    """Let reads go to a replica again."""
    path = _path(file)
    with _editing(path) as document:
        changed = document.drain(name, False)
    _tell(path, f"{name} takes reads again." if changed else f"{name} is not drained.", as_json)


@app.command()
def remove(name: Name, file: File = None, as_json: AsJson = False) -> None:
    """Remove a replica. Every process drains it first, and forgets it when nothing is lent there any more.

    So no read is lost, drained before or not; but leave the server running until its last client is gone.
    """
    path = _path(file)
    with _editing(path) as document:
        document.remove(name)
    _tell(path, f"{name} is removed: every process that follows {path} drains it and forgets it.", as_json)


@app.command("list")
def list_(file: File = None, as_json: AsJson = False) -> None:
    """Show the replicas of the file. How they are, `pgfleet status` shows."""
    path = _path(file)
    if not path.exists():
        raise ConfigurationError((f"{path}: is not there",), "`pgfleet replica add` makes it.")
    replicas = _document(path).replicas()
    if as_json:
        _print_json(path, replicas)
    elif replicas:
        _print_table(replicas)
    else:
        typer.echo(f"{path} names no replica yet: `pgfleet replica add` adds one.")


def _print_table(replicas: tuple[NodeSettings, ...]) -> None:
    shown = table(
        words("replica"),
        words("address"),
        figures("weight"),
        words("zone"),
        figures("connections"),
        prose("reads"),
    )
    for node in replicas:
        connections = f"{node.min_connections} to {node.max_connections}"
        reads = "no: is drained" if node.draining else "yes"
        shown.add_row(node.name, node.dsn.display, str(node.weight), node.zone or NOTHING, connections, reads)
    from rich.console import Console

    Console(highlight=False).print(shown)


def _path(file: Path | None) -> Path:
    if file is None:
        raise ConfigurationError(
            (f"{FLEET_FILE}: is not set, and --file is not given",),
            f"Set {FLEET_FILE} for every process of the fleet, and here.",
        )
    return Path(os.path.realpath(file))


def _document(path: Path) -> FleetDocument:
    from pgfleet.settings.fleet_document import FleetDocument  # here: no other command pays for it

    return FleetDocument(path, os.environ)


def _editing(path: Path) -> AbstractContextManager[FleetDocument]:
    from pgfleet.settings.fleet_document import editing

    return editing(path, os.environ)


def _place(dsn: str | None, dsn_env: str | None, dsn_file: Path | None) -> dict[str, str]:
    """The key of the file that says where the server is."""
    if sum(given is not None for given in (dsn, dsn_env, dsn_file)) != 1:
        raise typer.BadParameter("give exactly one of DSN, --dsn-env and --dsn-file")
    if dsn_file is not None:
        return {"dsn_file": str(dsn_file.resolve())}
    if dsn_env is not None:
        if not os.environ.get(dsn_env, "").strip():
            raise typer.BadParameter(f"the variable {dsn_env} is not set")
        return {"dsn": os.environ[dsn_env].strip()}
    return {"dsn": sys.stdin.read().strip() if dsn == "-" else str(dsn)}


def _ask(name: str, replicas: tuple[NodeSettings, ...]) -> None:
    """Refuse a server that is not there, or is no replica of this cluster."""
    if why := asyncio.run(_look(name, replicas)):
        typer.secho(f"error: {name}: {why}", fg="red", err=True)
        typer.echo("hint: Mend that first, or add it all the same with --no-check.", err=True)
        raise typer.Exit(1)


async def _look(name: str, replicas: tuple[NodeSettings, ...]) -> str | None:
    from pgfleet.cli.environment import router_of, without_idle_connections
    from pgfleet.core.intent import PLAIN
    from pgfleet.core.node import UNPROVEN, Reason
    from pgfleet.settings import Settings

    environ = {key: text for key, text in os.environ.items() if not key.startswith(FLEET_FILE)}
    settings = Settings.from_env(environ)
    asked = tuple(replace(node, draining=False) for node in replicas)
    settings = replace(settings, replicas=(*settings.replicas, *asked), use_replicas=True, discovery=None)
    async with router_of(without_idle_connections(settings)) as router:
        reason = router.engine.board.plan(PLAIN).reason(name)
        trouble = router.topology.node(name).trouble
    if reason is None or (reason in UNPROVEN and reason not in (Reason.NOT_PROBED, Reason.CLUSTER_UNKNOWN)):
        return None
    return f"{reason}: {trouble.detail}" if trouble else str(reason)


def _tell(path: Path, said: str, as_json: bool) -> None:
    if as_json:
        _print_json(path, _document(path).replicas())
    else:
        typer.echo(said)


def _print_json(path: Path, replicas: tuple[NodeSettings, ...]) -> None:
    print_json({"file": str(path), "replicas": [_row(node) for node in replicas]})


def _row(node: NodeSettings) -> dict[str, Any]:
    return {
        "name": node.name,
        "address": node.dsn.display,
        "weight": node.weight,
        "zone": node.zone,
        "maxConnections": node.max_connections,
        "minConnections": node.min_connections,
        "sharedEndpoint": node.shared_endpoint,
        "drain": node.draining,
    }
