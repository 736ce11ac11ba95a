"""DNS: a name with an address for each server, or SRV records. Asked again when the answer's TTL runs out.

An empty answer, a name that does not exist and a name server that is silent are errors: a fleet does not vanish because
DNS does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dns.exception import DNSException
from dns.resolver import Answer, Resolver

from pgfleet.core.membership import Found
from pgfleet.discovery.records import POSTGRES_PORT, SHORTEST_S, SrvRecord, interval_s, of_addresses, of_srv
from pgfleet.errors import DiscoveryError
from pgfleet.ports import Runtime

TIMEOUT_S = 3.0
"""For all name servers together."""


class _Asked:
    """What a name server is asked for, and when again."""

    def __init__(self, runtime: Runtime, resolver: Resolver | None) -> None:
        self._runtime = runtime
        self._resolver = resolver
        self.interval_s = SHORTEST_S

    async def _ask(self, name: str, servers: Callable[[], tuple[Found, ...]]) -> Sequence[Found]:
        try:
            found = await self._runtime.aside(servers)
        except DNSException as error:
            raise _unknown(name, str(error) or type(error).__name__) from error
        if not found:
            raise _unknown(name, "an empty answer")
        return found

    def _answer(self, name: str, kind: str) -> Answer:
        """Raises DNSException when there is no such name or no answer in time; an answer may be empty."""
        resolver = self._resolver = self._resolver or Resolver()  # reads /etc/resolv.conf
        answer = resolver.resolve(name, kind, lifetime=TIMEOUT_S, raise_on_no_answer=False, search=True)
        self.interval_s = interval_s(answer.chaining_result.minimum_ttl)
        return answer


class Dns(_Asked):
    """`dns:replicas.example.com:5432`: each of the name's addresses is a server; IPv6 if there is none of IPv4."""

    def __init__(self, address: str, runtime: Runtime, resolver: Resolver | None = None) -> None:
        super().__init__(runtime, resolver)
        self._name, _, port = address.partition(":")
        self._port = int(port or POSTGRES_PORT)

    async def find(self) -> Sequence[Found]:
        """A server for each address. Raises DiscoveryError when the name has none, or nobody knows it."""
        return await self._ask(self._name, self._servers)

    def _servers(self) -> tuple[Found, ...]:
        for kind in ("A", "AAAA"):  # a host of both would be two servers
            if answer := [record.address for record in self._answer(self._name, kind)]:
                return of_addresses(answer, self._port)
        return ()


class Srv(_Asked):
    """`srv:_postgres._tcp.example.com`: a server for each record, with its weight; only the first priority is read."""

    def __init__(self, address: str, runtime: Runtime, resolver: Resolver | None = None) -> None:
        super().__init__(runtime, resolver)
        self._name = address

    async def find(self) -> Sequence[Found]:
        """A server for each record. Raises DiscoveryError when there is none, or nobody knows the name."""
        return await self._ask(self._name, self._servers)

    def _servers(self) -> tuple[Found, ...]:
        return of_srv(
            SrvRecord(record.priority, record.weight, record.port, record.target.to_text())
            for record in self._answer(self._name, "SRV")
        )


def _unknown(name: str, why: str) -> DiscoveryError:
    return DiscoveryError(
        f"DNS names no server for {name}: {why}",
        f"Check the name in PGFLEET_DISCOVERY: `dig {name}` must answer with records.",
    )
