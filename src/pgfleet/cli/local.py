"""`pgfleet local`: the development cluster from a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pgfleet.cli.output import NOTHING, camel_case, figures, number, print_json, table, words
from pgfleet.core.lsn import Lsn, format_lsn
from pgfleet.local import LocalFleet, LocalStatus, ServerState
from pgfleet.local.fleet import MOST_REPLICAS

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="A real primary and its replicas on this machine, for development and tests.",
)

_COLOURED = {
    ServerState.RUNNING: "[green]running[/]",
    ServerState.STARTING: "[yellow]starting[/]",
    ServerState.FROZEN: "[cyan]frozen[/]",
    ServerState.STOPPED: "[red]stopped[/]",
}

Directory = Annotated[
    Path | None,
    typer.Option("--directory", help="Where the fleet's files are. [default: your state directory]"),
]
Node = Annotated[str, typer.Argument(metavar="NODE", help="primary, replica-1, ...", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Plain = Annotated[
    bool, typer.Option("--plain", help="Connect as a role without privileges, not as the superuser.")
]


@app.command()
def up(
    directory: Directory = None,
    replicas: Annotated[int, typer.Option(min=0, max=MOST_REPLICAS, help="How many, in a new fleet.")] = 3,
    pg_bin: Annotated[
        Path | None, typer.Option(help="PostgreSQL's bin directory, for a new fleet. [default: found]")
    ] = None,
    plain: Plain = False,
    as_json: AsJson = False,
) -> None:
    """Start a fleet, or what is stopped of the one that is there, and print the environment that uses it."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("Starting PostgreSQL ..."):
        fleet = LocalFleet.up(directory, replicas, pg_bin)
    console.print(
        f"PostgreSQL {fleet.postgresql}: {', '.join(fleet.names)} in {fleet.directory}", soft_wrap=True
    )
    if as_json:
        print_json(_summary(fleet) | {"environment": fleet.environ(plain)})
    else:
        _print_environment(fleet, plain)


@app.command()
def down(directory: Directory = None) -> None:
    """End every process of the fleet and remove every file, in whatever state it is."""
    typer.echo("The fleet is gone." if LocalFleet.remove(directory) else "There is no fleet.")


@app.command()
def status(
    directory: Directory = None,
    env: Annotated[bool, typer.Option("--env", help="Print the environment that uses the fleet.")] = False,
    plain: Plain = False,
    as_json: AsJson = False,
) -> None:
    """Show what each node is doing."""
    fleet = LocalFleet.attach(directory)
    if env and as_json:
        print_json(_summary(fleet) | {"environment": fleet.environ(plain)})
    elif env:
        _print_environment(fleet, plain)
    elif as_json:
        print_json(_summary(fleet) | {"nodes": [_record(status) for status in fleet.status()]})
    else:
        _print_table(fleet.status())


@app.command()
def kill(node: Node, directory: Directory = None) -> None:
    """SIGKILL a node: the postmaster and every child. `restart` or `up` brings it back."""
    LocalFleet.attach(directory).kill(node)
    typer.echo(f"{node} is killed.")


@app.command()
def freeze(node: Node, directory: Directory = None) -> None:
    """SIGSTOP a node: it still takes connections, and answers nobody."""
    LocalFleet.attach(directory).freeze(node)
    typer.echo(f"{node} is frozen.")


@app.command()
def thaw(node: Node, directory: Directory = None) -> None:
    """Let a frozen node go on."""
    LocalFleet.attach(directory).thaw(node)
    typer.echo(f"{node} goes on.")


@app.command()
def lag(
    node: Node,
    delay: Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help="How late; 0 ends the lag.")] = 5.0,
    paused: Annotated[bool, typer.Option("--paused", help="Replay nothing, until `--delay 0`.")] = False,
    directory: Directory = None,
) -> None:
    """Make a replica replay late, or not at all."""
    LocalFleet.attach(directory).lag(node, delay, paused=paused)
    typer.echo(f"{node} replays nothing." if paused else f"{node} replays {delay:g} s late.")


@app.command()
def promote(node: Node, directory: Directory = None) -> None:
    """Make a replica a primary. The others stay as they are, until they `rejoin`."""
    LocalFleet.attach(directory).promote(node)
    typer.echo(f"{node} is a primary.")


@app.command()
def rejoin(node: Node, directory: Directory = None) -> None:
    """Make an old primary, or a standby of one, a standby of the present primary."""
    fleet = LocalFleet.attach(directory)
    fleet.rejoin(node)
    typer.echo(f"{node} follows {fleet.primary}.")


@app.command()
def add(node: Node, directory: Directory = None) -> None:
    """Add a replica, copied from the present primary while it runs."""
    LocalFleet.attach(directory).add_replica(node)
    typer.echo(f"{node} streams.")


@app.command()
def remove(node: Node, directory: Directory = None) -> None:
    """End a replica, drop its slot and remove its files."""
    LocalFleet.attach(directory).remove_replica(node)
    typer.echo(f"{node} is gone.")


@app.command()
def restart(node: Node, directory: Directory = None) -> None:
    """Stop a node, if it runs, and start it."""
    LocalFleet.attach(directory).restart(node)
    typer.echo(f"{node} runs.")


def _summary(fleet: LocalFleet) -> dict[str, Any]:
    return {"directory": str(fleet.directory), "postgresql": fleet.postgresql}


def _record(status: LocalStatus) -> Any:
    positions = {"flush_lsn": _position(status.flush_lsn), "replay_lsn": _position(status.replay_lsn)}
    return camel_case(asdict(status) | positions)


def _position(lsn: Lsn | None) -> str | None:
    return None if lsn is None else format_lsn(lsn)


def _print_environment(fleet: LocalFleet, plain: bool) -> None:
    """Lines for a shell, whole however narrow the terminal is."""
    for name, value in fleet.environ(plain).items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _print_table(statuses: list[LocalStatus]) -> None:
    from rich.console import Console

    names = [words(header) for header in ("node", "role", "state", "follows")]
    shown = table(*names, *(figures(header) for header in ("port", "timeline", "lag")))
    for status in statuses:
        shown.add_row(*_row(status))
    Console(highlight=False).print(shown)


def _row(status: LocalStatus) -> list[str]:
    return [
        status.name,
        status.role,
        "\n".join([_COLOURED[status.state], *(f"[dim]{oddity}[/]" for oddity in _oddities(status))]),
        status.upstream or NOTHING,
        str(status.port),
        str(status.timeline),
        NOTHING if status.lag_bytes is None else f"{number(status.lag_bytes)} B",
    ]


def _oddities(status: LocalStatus) -> Iterator[str]:
    """What is not as usual with a standby that runs."""
    if status.state is ServerState.RUNNING and status.upstream:
        if not status.is_streaming:
            yield "not streaming"
        if status.is_paused:
            yield "paused"
        if status.apply_delay_s:
            yield f"{status.apply_delay_s:g} s late"
