"""A real name server, dnsmasq, that answers for one zone and asks nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dns.exception import DNSException
from dns.resolver import Resolver

from pgfleet.local.account import Account
from pgfleet.local.freeports import reserved_ports
from pgfleet.testing import eventually
from tests.daemons import Daemon, program, scratch

ZONE = "fleet.test"


class NameServer:
    """What it answers, and a resolver that asks it alone."""

    def __init__(self, directory: Path, port: int, account: Account) -> None:
        self._config = directory / "dnsmasq.conf"
        self._daemon = Daemon(
            account, directory / "dnsmasq.log", program("dnsmasq"), "--keep-in-foreground", f"--port={port}",
            "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts", f"--local=/{ZONE}/",
            "--pid-file", "--user=", "--log-facility=-", f"--conf-file={self._config}",
        )  # fmt: skip
        self.resolver = Resolver(configure=False)
        self.resolver.nameservers, self.resolver.port = ["127.0.0.1"], port

    def serve(self, *records: str) -> None:
        """Answer with these from now on, each a line of dnsmasq's configuration."""
        self._config.write_text("\n".join((f"host-record=ready.{ZONE},127.0.0.1", *records)) + "\n")
        self._config.chmod(0o644)
        self._daemon.end()
        self._daemon.start()
        eventually(self._answers)

    def end(self) -> None:
        """Be silent."""
        self._daemon.end()

    def _answers(self) -> bool:
        with suppress(DNSException):
            return bool(self.resolver.resolve(f"ready.{ZONE}", lifetime=0.1))
        return False


@contextmanager
def name_server() -> Iterator[NameServer]:
    """One that knows nothing yet."""
    account = Account.choose()
    with reserved_ports(1) as (port,):
        pass  # TCP alone is kept free; who takes the UDP port of the same number?
    with scratch(account) as directory:
        server = NameServer(directory, port, account)
        try:
            yield server
        finally:
            server.end()
