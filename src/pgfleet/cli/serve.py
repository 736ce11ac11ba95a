"""`pgfleet serve`: the monitoring API over the fleet of the environment, as a service of its own."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgfleet.cli.environment import router_of
from pgfleet.cli.web import listen, web_server
from pgfleet.errors import ConfigurationError

if TYPE_CHECKING:
    from pgfleet.settings import NodeSettings, Settings

CONNECTIONS_PER_NODE = 2
STATEMENT_TIMEOUT_S = 2.0


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0: a free one.")] = 4000,
) -> None:
    """Serve the monitoring API over the fleet of the environment, until Ctrl-C or SIGTERM.

    With PGFLEET_API_TOKEN set it asks for this token. Without one it listens on this machine's loopback interface only.
    """
    from pgfleet.settings import Settings

    settings = Settings.from_env()
    if settings.api_token is None:
        _check_loopback(host)
    with listen(host, port) as listener:
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # whoever sends garbage need not fill the log
        asyncio.run(_serve(for_monitoring(settings), listener))


def for_monitoring(settings: Settings) -> Settings:
    """The same fleet for one who only looks: few connections, none kept ready, all under a name of their own."""
    return replace(
        settings,
        primary=_for_monitoring(settings.primary),
        replicas=tuple(map(_for_monitoring, settings.replicas)),
        adapt=_for_monitoring,
        fallback_dsn=None,
        fallback_share=1.0,
        query_timeout_s=STATEMENT_TIMEOUT_S,
    )


def _for_monitoring(node: NodeSettings) -> NodeSettings:
    from pgfleet.http.queries import APPLICATION_NAME

    dsn = node.dsn.changed(application_name=APPLICATION_NAME)
    probe_dsn = node.probe_dsn and node.probe_dsn.changed(application_name=APPLICATION_NAME)
    return replace(
        node, dsn=dsn, probe_dsn=probe_dsn, max_connections=CONNECTIONS_PER_NODE, min_connections=0
    )


def _check_loopback(host: str) -> None:
    from pgfleet.http.shell import is_loopback

    if not is_loopback(host):
        raise ConfigurationError(
            (
                f"PGFLEET_API_TOKEN: is not set, and {host} is not loopback: anybody could read the fleet's state",
            ),
            "Set PGFLEET_API_TOKEN (`openssl rand -hex 32` prints one), or leave --host at 127.0.0.1.",
        )


async def _serve(settings: Settings, listener: socket.socket) -> None:
    from pgfleet.http import create_app
    from pgfleet.http.shell import LoopbackHosts

    router = router_of(settings)
    app: Any = create_app(router, auth=settings.api_token, source="server")
    server = web_server(app if settings.api_token else LoopbackHosts(app))
    for number in (signal.SIGINT, signal.SIGTERM):  # they end it from now on, with an exit code of 0
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    async with router:
        host, port, *_ = listener.getsockname()
        where = f"[{host}]" if ":" in host else host
        typer.echo(
            f"pgfleet serves http://{where}:{port}/v1/system/database/replicas/health (Ctrl-C ends it)"
        )
        await server.serve([listener])
