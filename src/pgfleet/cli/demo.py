"""`pgfleet demo`: a fleet, an application on it, the monitoring API, and what all of them do, live."""

from __future__ import annotations

import asyncio
import secrets
import socket
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgfleet.cli.web import listen
from pgfleet.errors import DriverMissing

if TYPE_CHECKING:
    from pgfleet.cli.demo_fleet import DemoFleet
    from pgfleet.cli.demo_view import View
    from pgfleet.demo.figures import Meter

HOST = "127.0.0.1"
NEEDED = ("asyncpg", "fastapi", "uvicorn")


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(min=1.0, help="End by itself after so many seconds.", show_default="until Ctrl-C"),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the monitoring API on 127.0.0.1; 0: any free one.")
    ] = 4000,
    replicas: Annotated[int, typer.Option(min=0, max=16, help="How many replicas to start.")] = 3,
    pg_bin: Annotated[
        Path | None,
        typer.Option(help="Directory of PostgreSQL's programs.", show_default="the embedded PostgreSQL"),
    ] = None,
) -> None:
    """Watch a primary and its replicas serve an application's reads, and break something meanwhile.

    Everything is started here and gone at the end. Exit code 1 when a read was lost or stale.
    """
    if missing := [name for name in NEEDED if not _is_installed(name)]:
        raise DriverMissing(f"the demo needs {', '.join(missing)}", "pip install 'pgfleet[all]'")
    from pgfleet.cli.demo_fleet import demo_fleet
    from pgfleet.cli.demo_view import View
    from pgfleet.cli.endings import ending_as_ctrl_c

    view = View()
    with listen(HOST, port) as listener, ending_as_ctrl_c(), demo_fleet(replicas, pg_bin, view) as fleet:
        is_clean = asyncio.run(_run(fleet, listener, seconds, view))
    raise typer.Exit(0 if is_clean else 1)


def _is_installed(name: str) -> bool:
    try:
        import_module(name)
    except ModuleNotFoundError:
        return False
    return True


async def _run(fleet: DemoFleet, listener: socket.socket, seconds: float | None, view: View) -> bool:
    """The demo on a fleet that runs. Whether no read was lost or stale."""
    from pgfleet.aio import AsyncReplicaRouter
    from pgfleet.cli.demo_api import serving
    from pgfleet.demo.figures import Meter
    from pgfleet.demo.hospitality import Hospitality
    from pgfleet.demo.workload import Workload
    from pgfleet.http import create_app

    token = secrets.token_urlsafe(18)
    async with AsyncReplicaRouter.from_env(fleet.environ(), "asyncpg") as router:
        hotels = Hospitality(router)
        made = await hotels.prepare()
        workload = Workload(hotels)
        meter = Meter(router, workload.tally)
        async with serving(create_app(router, auth=token), listener):
            view.introduce(fleet, f"http://{HOST}:{listener.getsockname()[1]}", token)
            working = asyncio.create_task(workload.run())
            with view.live():
                await _watch(working, meter, seconds, view)
            workload.end()
            await working
            view.conclude(meter.read(), workload.tally)
        if made and not fleet.is_ours:
            await hotels.remove()
    return workload.tally.is_clean


async def _watch(working: asyncio.Task[None], meter: Meter, seconds: float | None, view: View) -> None:
    """Show the figures until the time is over, Ctrl-C is pressed, or nobody works any more."""
    clock = asyncio.get_running_loop().time
    end_s = clock() + seconds if seconds else float("inf")
    try:
        while not working.done() and (left_s := end_s - clock()) > 0:
            await asyncio.wait([working], timeout=min(left_s, view.interval_s))
            view.show(meter.read())
    except asyncio.CancelledError:  # what Ctrl-C becomes inside asyncio.run
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
