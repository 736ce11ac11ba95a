"""A real Patroni: three members on a real etcd, ended with every process and file, however a test ends."""

from __future__ import annotations

import json
import signal
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from pgfleet.local.account import Account
from pgfleet.local.binaries import find_binaries
from pgfleet.local.freeports import reserved_ports
from pgfleet.local.layout import state_root
from pgfleet.local.processes import Process, processes_of
from pgfleet.testing import eventually
from tests.daemons import Daemon, program, scratch

REST_USER, REST_PASSWORD = "ops", "r3st-s3cr3t"
PASSWORD = "s3cr3t"
TTL_S = 20
"""The least that Patroni takes: a leader that vanished is replaced after so long."""
START_S = 90


class Refused(Exception):
    """Patroni does not do what was asked."""


@dataclass
class Member:
    """One server: Patroni and the PostgreSQL that it runs."""

    name: str
    port: int
    rest_port: int
    directory: Path
    daemon: Daemon

    @property
    def url(self) -> str:
        """Where its REST API is."""
        return f"http://127.0.0.1:{self.rest_port}"

    @property
    def dsn(self) -> str:
        """Where its PostgreSQL is."""
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.directory / self.name

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        self.daemon.start()

    def kill(self) -> None:
        """Kill Patroni and PostgreSQL at once: the machine is gone."""
        self._end(signal.SIGKILL)

    def end(self) -> None:
        """The same for good: PostgreSQL is given the moment to take its shared memory with it."""
        self._end(signal.SIGQUIT)

    def _end(self, number: signal.Signals) -> None:
        self.daemon.end()
        for process in self._servers():
            process.send(number)
        eventually(lambda: not self._servers())

    def _servers(self) -> list[Process]:
        return processes_of(str(self.data), f"postgres: {self.directory.name}-{self.name}")


class PatroniCluster:
    """What the tests ask of it."""

    def __init__(self, etcd: Daemon, members: dict[str, Member]) -> None:
        self.etcd = etcd
        self.members = members

    @property
    def urls(self) -> str:
        """As PGFLEET_DISCOVERY takes them, behind `patroni:`."""
        return ",".join(member.url for member in self.members.values())

    def cluster(self) -> dict[str, dict[str, Any]]:
        """`/cluster` by the members' names, as the first that answers tells it; empty: none does."""
        for member in self.members.values():
            with suppress(OSError, HTTPException, ValueError, LookupError, Refused):
                return {
                    told["name"]: told for told in json.loads(_call(member, "GET", "/cluster"))["members"]
                }
        return {}

    def leader(self) -> str | None:
        """Who leads and says that it runs."""
        cluster = self.cluster().items()
        return next((n for n, m in cluster if m["role"] == "leader" and m["state"] == "running"), None)

    def streaming(self) -> set[str]:
        """Who follows."""
        return {name for name, member in self.cluster().items() if member["state"] == "streaming"}

    def switchover(self, candidate: str) -> None:
        """Make another member the leader."""
        leader = self.leader()
        assert leader
        body = json.dumps({"leader": leader, "candidate": candidate})

        def accepted() -> bool:
            with suppress(Refused):  # it finds no good candidate until it has heard of its health
                _call(self.members[leader], "POST", "/switchover", body)
                return True
            return False

        eventually(accepted, within_s=START_S)
        self.settled(leader=candidate)

    def tag(self, name: str, **tags: bool) -> None:
        """Set a member's tags, and wait until the others know."""
        member = self.members[name]
        path = member.directory / f"{name}.yml"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tags": tags}))
        _call(member, "POST", "/reload")
        eventually(lambda: self.cluster().get(name, {}).get("tags", {}) == tags, within_s=START_S)

    def settled(self, leader: str | None = None, without: str | None = None) -> str:
        """Wait until one leads (this one), and all others follow, but for one that is gone; the leader."""
        expected = self.members.keys() - {without}

        def is_settled() -> bool:
            now = self.leader()
            return now in expected and leader in (None, now) and expected - {now} <= self.streaming()

        eventually(is_settled, within_s=START_S)
        found = self.leader()
        assert found
        return found


def _call(member: Member, method: str, path: str, body: str | None = None) -> bytes:
    connection = HTTPConnection("127.0.0.1", member.rest_port, timeout=30)
    login = b64encode(f"{REST_USER}:{REST_PASSWORD}".encode()).decode()
    try:
        connection.request(method, path, body, {"Authorization": f"Basic {login}"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise Refused(f"{method} {path}: {answer.status} {said!r}")
        return said
    finally:
        connection.close()


@contextmanager
def patroni_cluster(members: int = 3) -> Iterator[PatroniCluster]:
    """A settled cluster."""
    account = Account.choose()
    binaries = find_binaries(None, account, state_root(account) / "cache").directory
    with ExitStack() as stack:
        directory = stack.enter_context(scratch(account))
        with reserved_ports(2 + 2 * members) as ports:
            etcd_port, peer_port, *others = ports
        etcd = _etcd(account, directory, etcd_port, peer_port)
        stack.callback(etcd.end)
        etcd.start()
        made = {}
        for number in range(members):
            name = f"pg-{number + 1}"
            port, rest_port = others[2 * number : 2 * number + 2]
            config = directory / f"{name}.yml"
            config.write_text(
                json.dumps(_config(directory, name, binaries, port, rest_port, etcd_port), indent=1)
            )
            config.chmod(0o644)
            daemon = Daemon(account, directory / f"{name}.log", program("patroni"), config)
            made[name] = Member(name, port, rest_port, directory, daemon)
            stack.callback(partial(Member.end, made[name]))
        cluster = PatroniCluster(etcd, made)
        for member in made.values():
            member.start()
        try:
            cluster.settled()
        except AssertionError as error:
            raise AssertionError(
                "\n".join(member.daemon.said()[-3000:] for member in made.values())
            ) from error
        yield cluster


def _etcd(account: Account, directory: Path, port: int, peer_port: int) -> Daemon:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return Daemon(
        account, directory / "etcd.log", program("etcd"), "--data-dir", directory / "etcd", "--unsafe-no-fsync",
        "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
        "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
    )  # fmt: skip


def _config(
    directory: Path, name: str, binaries: Path, port: int, rest_port: int, etcd_port: int
) -> dict[str, Any]:
    """Patroni's own, as JSON, which is YAML."""
    replication = {"username": "replicator", "password": PASSWORD}
    return {
        "scope": directory.name,
        "name": name,
        "log": {"level": "INFO"},
        "restapi": {
            "listen": f"127.0.0.1:{rest_port}",
            "connect_address": f"127.0.0.1:{rest_port}",
            "authentication": {"username": REST_USER, "password": REST_PASSWORD},
        },
        "etcd3": {"host": f"127.0.0.1:{etcd_port}"},
        "bootstrap": {
            "dcs": {
                "ttl": TTL_S,
                "loop_wait": 1,
                "retry_timeout": 5,
                "postgresql": {"use_pg_rewind": True, "use_slots": True},
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
        },
        "postgresql": {
            "listen": f"127.0.0.1:{port}",
            "connect_address": f"127.0.0.1:{port}",
            "data_dir": str(directory / name),
            "bin_dir": str(binaries),
            "pgpass": str(directory / f"{name}.pgpass"),
            "authentication": {
                "superuser": {"username": "postgres", "password": PASSWORD},
                "replication": replication,
                "rewind": replication | {"username": "rewinder"},
            },
            "pg_hba": [
                "local all all trust",
                "host all all 127.0.0.1/32 scram-sha-256",
                "host replication all 127.0.0.1/32 scram-sha-256",
            ],
            "parameters": {
                "cluster_name": f"{directory.name}-{name}",
                "unix_socket_directories": str(directory),
                "fsync": False,
                "dynamic_shared_memory_type": "mmap",
                "shared_buffers": "16MB",
                "max_connections": 100,
                "wal_receiver_timeout": "5s",
                "wal_retrieve_retry_interval": "200ms",
            },
        },
    }
