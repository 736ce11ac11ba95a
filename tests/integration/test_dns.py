"""Servers found by a real name server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgfleet.core.membership import Found
from pgfleet.discovery.dns import Dns, Srv
from pgfleet.errors import DiscoveryError
from pgfleet.runtimes import TaskRuntime, ThreadRuntime, drive
from tests.nameserver import ZONE, NameServer, name_server

REPLICAS = f"replicas.{ZONE}"
SERVICE = f"_postgres._tcp.{ZONE}"


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


def dns(server: NameServer, address: str) -> Dns:
    return Dns(address, TaskRuntime(), server.resolver)


def srv(server: NameServer) -> Srv:
    return Srv(SERVICE, TaskRuntime(), server.resolver)


async def test_each_address_is_a_server_asked_again_when_its_ttl_runs_out(server: NameServer) -> None:
    server.serve(f"host-record={REPLICAS},10.0.0.1,7", f"host-record={REPLICAS},10.0.0.2,7")
    discovery = dns(server, f"{REPLICAS}:6432")
    assert await discovery.find() == (
        Found("10.0.0.1-6432", "10.0.0.1", 6432),
        Found("10.0.0.2-6432", "10.0.0.2", 6432),
    )
    assert discovery.interval_s == 7


@pytest.mark.parametrize(("ttl_s", "interval_s"), [(0, 1), (86400, 60)])
async def test_a_ttl_that_is_too_short_or_too_long_is_bounded(
    server: NameServer, ttl_s: int, interval_s: float
) -> None:
    server.serve(f"host-record={REPLICAS},10.0.0.1,{ttl_s}")
    discovery = dns(server, REPLICAS)
    await discovery.find()
    assert discovery.interval_s == interval_s


async def test_servers_that_come_and_go_are_followed(server: NameServer) -> None:
    discovery = dns(server, REPLICAS)
    for addresses in (["10.0.0.1"], ["10.0.0.1", "10.0.0.2"], ["10.0.0.2"]):
        server.serve(*(f"host-record={REPLICAS},{address}" for address in addresses))
        assert [found.host for found in await discovery.find()] == addresses


async def test_ipv6_serves_where_there_is_no_ipv4(server: NameServer) -> None:
    server.serve(f"host-record={REPLICAS},2001:db8::1")
    assert await dns(server, REPLICAS).find() == (Found("2001-db8--1", "2001:db8::1", 5432),)


def test_threads_ask_as_well(server: NameServer) -> None:
    server.serve(f"host-record={REPLICAS},10.0.0.1")
    assert len(drive(Dns(REPLICAS, ThreadRuntime(), server.resolver).find())) == 1


async def test_srv_records_give_port_weight_and_priority(server: NameServer) -> None:
    server.serve(
        f"srv-host={SERVICE},pg-1.{ZONE},5432,10,30",
        f"srv-host={SERVICE},pg-2.{ZONE},6432,10,60",
        f"srv-host={SERVICE},far.{ZONE},5432,20,100",
    )
    assert await srv(server).find() == (
        Found(f"pg-1.{ZONE}", f"pg-1.{ZONE}", 5432, weight=30),
        Found(f"pg-2.{ZONE}-6432", f"pg-2.{ZONE}", 6432, weight=60),
        Found(f"far.{ZONE}", f"far.{ZONE}", 5432, weight=100, takes_reads=False),
    )


async def test_a_name_that_is_not_there_is_an_error(server: NameServer) -> None:
    server.serve()
    for discovery in (dns(server, REPLICAS), srv(server)):
        with pytest.raises(DiscoveryError, match=rf"no server for .*{ZONE}: .*does not exist"):
            await discovery.find()


async def test_an_answer_without_an_address_is_an_error_and_no_empty_fleet(server: NameServer) -> None:
    server.serve(f"txt-record={REPLICAS},nothing", f"srv-host={SERVICE}")
    for discovery in (dns(server, REPLICAS), srv(server)):
        with pytest.raises(DiscoveryError, match="an empty answer"):
            await discovery.find()


async def test_a_silent_name_server_is_an_error(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgfleet.discovery.dns.TIMEOUT_S", 0.2)
    server.end()
    with pytest.raises(DiscoveryError, match="expired after"):
        await dns(server, REPLICAS).find()
