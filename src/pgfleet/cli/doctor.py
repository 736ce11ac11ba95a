"""`pgfleet doctor`: what is wrong with the fleet, and how it is mended."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pgfleet.core.diagnosis.snapshot import Snapshot

IN_SHORT = "What is wrong with the fleet, and how it is mended."


def doctor(
    node: Annotated[
        str | None, typer.Option("--node", help="Show what concerns this node, and what explains it.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="How many processes have pools with these settings.")
    ] = 1,
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", min=0.2, max=60.0, help="How long a node may take, in seconds.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Look at every node, and tell what is wrong: what was seen, what it means, what to do.

    It changes nothing, and an ordinary role is enough for much of it. Exit code 0: nothing worse than a notice;
    1: a warning or worse.
    """
    from pgfleet.cli.doctor_view import as_document, print_findings
    from pgfleet.cli.output import print_json
    from pgfleet.core.diagnosis.diagnose import diagnose
    from pgfleet.core.diagnosis.finding import Severity
    from pgfleet.core.diagnosis.order import about

    began_s = time.monotonic()
    snapshot = asyncio.run(_look(processes, timeout_s, node))
    findings = about(node, diagnose(snapshot)) if node else diagnose(snapshot)
    elapsed_s = time.monotonic() - began_s
    if as_json:
        print_json(as_document(snapshot, findings, elapsed_s))
    else:
        print_findings(snapshot, findings, elapsed_s)
    if any(finding.severity is not Severity.NOTICE for finding in findings):
        raise typer.Exit(1)


async def _look(processes: int, timeout_s: float, wanted: str | None) -> Snapshot:
    """All nodes, whichever is wanted: what is wrong with one is often to be seen on another."""
    from pgfleet.doctor.examine import Patience, examine
    from pgfleet.doctor.nodes import with_discovered
    from pgfleet.errors import UnknownNode
    from pgfleet.settings import Settings

    settings, trouble = await with_discovered(Settings.from_env())
    names = [settings.primary.name, *(replica.name for replica in settings.replicas)]
    if wanted not in (None, *names):
        raise UnknownNode(f"the fleet has no node {wanted}", f"it has {', '.join(names)}")
    return await examine(settings, processes, Patience(timeout_s), discovery_trouble=trouble)
