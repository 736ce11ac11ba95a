"""`pgfleet provision promote`: a replica of a cloud becomes an instance of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pgfleet.cli.endings import ending_as_ctrl_c
from pgfleet.cli.provision import DECLARATION, File
from pgfleet.errors import ProvisionError

IN_SHORT = "Make a replica an instance of its own, which takes writes."
AFTERWARDS = (
    "{name} takes writes now. Routers that know it take it for the primary: write it into [primary] of {file}, and set"
    " DATABASE_URL and PGFLEET_DISCOVERY."
)


def promote(
    name: Annotated[str, typer.Argument(help="The replica.")],
    file: File = DECLARATION,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Make a replica of RDS or Cloud SQL an instance of its own, which takes writes. There is no way back.

    Routers that know it take it for the new primary, as after a failover. Exit code 2 when it cannot be done.
    """
    from pgfleet.provision.file import read_declaration
    from pgfleet.provision.provider import Promotes
    from pgfleet.provision.registry import open_provider

    declaration = read_declaration(file)
    provider = open_provider(declaration, os.environ)
    if not isinstance(provider, Promotes):
        raise ProvisionError(
            f"the provider {declaration.provider} promotes no replica",
            "Use pg_promote(), or pgfleet local promote.",
        )
    _confirm(name, yes)

    async def go() -> None:
        try:
            await provider.promote(name, _tell)
        finally:
            await provider.close()

    with ending_as_ctrl_c():
        asyncio.run(go())
    typer.echo(AFTERWARDS.format(name=name, file=Path(file).name))


def _confirm(name: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ProvisionError("a promotion cannot be taken back, and nobody can be asked", "Add --yes.")
    typer.confirm(
        f"Make {name} an instance that takes writes, for good? Routers that know it will write there.",
        abort=True,
        err=True,
    )


def _tell(line: str) -> None:
    typer.echo(line, err=True)
