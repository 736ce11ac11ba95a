"""A real PgBouncer before every node of a fleet, in transaction mode."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pgfleet.local import LocalFleet
from pgfleet.local.account import Account
from pgfleet.local.freeports import reserved_ports
from pgfleet.settings import Dsn
from pgfleet.testing import eventually
from tests.daemons import Daemon, program, scratch

READ_ONLY = "hotel_read_only"
"""The primary's database for reads that find no replica, by PgBouncer's own means."""
SERVER_CONNECTIONS = 4
"""Fewer than the callers of a test: who lends sessions must share them."""


class Bouncer:
    """One PgBouncer, and the connection string that leads through it."""

    def __init__(self, dsn: str, port: int, directory: Path, account: Account) -> None:
        self._server = Dsn.parse(dsn)
        self.port = port
        self.dsn = dsn.replace(f":{self._server.hosts[0][1]}/", f":{port}/")
        config = directory / f"{port}.ini"
        config.write_text(self._config(directory))
        config.chmod(0o644)
        self._daemon = Daemon(account, directory / f"{port}.log", program("pgbouncer"), config)

    @property
    def read_only_dsn(self) -> str:
        """To the same server, in sessions that begin read-only."""
        return self.dsn.rpartition("/")[0] + f"/{READ_ONLY}"

    def start(self) -> None:
        """Start it, and return when it listens."""
        self._daemon.start()
        eventually(self._listens)

    def kill(self) -> None:
        """End it at once, and every connection through it."""
        self._daemon.end()

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def _config(self, directory: Path) -> str:
        server = f"host=127.0.0.1 port={self._server.hosts[0][1]}"
        begin = "set default_transaction_read_only = on; set statement_timeout = '7s'"
        return f"""
[databases]
{READ_ONLY} = {server} dbname={self._server.database} connect_query='{begin.replace("'", "''")}'
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
max_client_conn = 500
auth_type = scram-sha-256
auth_file = {directory / "users.txt"}
server_login_retry = 1
"""


@contextmanager
def bouncers(fleet: LocalFleet) -> Iterator[dict[str, Bouncer]]:
    """One before each node, by its name."""
    account = Account.choose()
    with ExitStack() as stack:
        directory = stack.enter_context(scratch(account))
        user = Dsn.parse(fleet.dsn("primary"))
        assert user.password
        users = directory / "users.txt"
        users.write_text(f'"{user.user}" "{user.password.reveal()}"\n')
        users.chmod(0o600)
        account.give(users)
        with reserved_ports(len(fleet.names)) as ports:
            pass
        made = {}
        for name, port in zip(fleet.names, ports, strict=True):
            made[name] = Bouncer(fleet.dsn(name), port, directory, account)
            stack.callback(made[name].kill)
            made[name].start()
        yield made
