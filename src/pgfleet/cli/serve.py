"""`pgfleet serve`: the monitoring API over the fleet of the environment, as a service of its own."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgfleet.errors import ConfigurationError, DriverMissing, PgfleetError

if TYPE_CHECKING:
    from pgfleet.settings import Dsn, NodeSettings, Settings

BACKLOG = 128
STOP_TIMEOUT_S = 2
CONNECTIONS_PER_NODE = 2
STATEMENT_TIMEOUT_S = 2.0

_IN_USE = "Give another port with --port; `ss -ltnp` shows who has this one."
_HINTS = {
    errno.EADDRINUSE: _IN_USE,
    errno.EACCES: "Ports below 1024 need a privilege: give a higher one with --port.",
}


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
        replicas=tuple(_for_monitoring(replica) for replica in settings.replicas),
        fallback_dsn=None,
        fallback_share=1.0,
        query_timeout_s=STATEMENT_TIMEOUT_S,
    )


def _for_monitoring(node: NodeSettings) -> NodeSettings:
    return replace(node, dsn=_named(node.dsn), max_connections=CONNECTIONS_PER_NODE, min_connections=0)


def _named(dsn: Dsn) -> Dsn:
    """The same connection string with our application_name: the last of a repeated keyword counts."""
    from pgfleet.http.queries import APPLICATION_NAME
    from pgfleet.settings.conninfo import parse_conninfo

    words = parse_conninfo(dsn.reveal()) | {"application_name": APPLICATION_NAME}
    return type(dsn).parse(" ".join(f"{word}={_quoted(value)}" for word, value in words.items()))


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", r"\\").replace("'", r"\'") + "'"


def _check_loopback(host: str) -> None:
    from pgfleet.http.shell import is_loopback

    if not is_loopback(host):
        raise ConfigurationError(
            (
                f"PGFLEET_API_TOKEN: is not set, and {host} is not loopback: anybody could read the fleet's state",
            ),
            "Set PGFLEET_API_TOKEN (`openssl rand -hex 32` prints one), or leave --host at 127.0.0.1.",
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PgfleetError with the next step."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "Give an address of this machine with --host.")
        raise PgfleetError(f"cannot listen on {host}:{port}: {error.strerror}", hint) from None
    # Its connections inherit it. asyncio would not see that they are TCP, and each answer would wait 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _serve(settings: Settings, listener: socket.socket) -> None:
    from pgfleet.http import create_app
    from pgfleet.http.shell import LoopbackHosts

    router = _router(settings)
    app: Any = create_app(router, auth=settings.api_token, source="server")
    server = _server(app if settings.api_token else LoopbackHosts(app))
    async with router:
        host, port, *_ = listener.getsockname()
        where = f"[{host}]" if ":" in host else host
        typer.echo(
            f"pgfleet serves http://{where}:{port}/v1/system/database/replicas/health (Ctrl-C ends it)"
        )
        await server.serve([listener])


def _router(settings: Settings) -> Any:
    """On psycopg, which reads connection strings as libpq does, or on the driver that is there."""
    from pgfleet.aio import AsyncReplicaRouter

    for driver in ("psycopg", "asyncpg"):
        try:
            return AsyncReplicaRouter[Any](settings, driver)
        except DriverMissing:
            continue
    raise DriverMissing("neither psycopg nor asyncpg is installed", "pip install 'pgfleet[psycopg,server]'")


def _server(app: Any) -> Any:
    """uvicorn, which a signal ends at any time from now on: an exit code of 0 and nothing left open."""
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise DriverMissing("serving needs uvicorn", "pip install 'pgfleet[server]'") from error

    class Server(uvicorn.Server):
        def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # a generator there
            return nullcontext()

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )
    server = Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    return server
