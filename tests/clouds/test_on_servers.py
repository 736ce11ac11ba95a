"""What a cloud tells, with real servers behind it: a router follows, and `pgfleet provision` is typed."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest
from typer.testing import CliRunner, Result

from pgfleet.cli.app import app
from pgfleet.local import LocalFleet
from pgfleet.provision.pace import Pace
from tests.clouds import rds_shim
from tests.clouds.sqladmin import PROJECT, Project
from tests.clouds.sqladmin_server import credentials, serving
from tests.faces import FACES, Face, environ, port
from tests.fault.load import Load, becomes, load

NAMES = ("primary", "replica-1", "replica-2")
TASKS = next(face for face in FACES if not face.threaded)
THREADS = next(face for face in FACES if face.threaded)


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    with LocalFleet.temporary(replicas=2) as fleet:
        yield fleet


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if half a minute were half a second."""
    monkeypatch.setattr("pgfleet.discovery.rds.Rds.interval_s", 0.5)
    monkeypatch.setattr("pgfleet.discovery.cloudsql.CloudSql.interval_s", 0.5)


@asynccontextmanager
async def followed(face: Face, fleet: LocalFleet, discovery: str, primary: str = "") -> AsyncIterator[Load]:
    """What callers see who know of nothing but a primary and a discovery."""
    env = {name: text for name, text in environ(fleet).items() if not name.startswith("READ_")}
    here = f"127.0.0.1:{port(fleet, 'primary')}"
    env["DATABASE_URL"] = env["DATABASE_URL"].replace(here, primary or here)
    async with face.open(env | {"PGFLEET_DISCOVERY": discovery}) as router, load(fleet, router) as seen:
        yield seen


async def served_by(seen: Load, *names: str) -> None:
    async with asyncio.timeout(60):
        while set(await seen.after(40)) != set(names):
            pass


async def test_the_replicas_of_an_instance_of_rds_are_followed(
    fleet: LocalFleet, caplog: pytest.LogCaptureFixture
) -> None:
    with rds_shim.account() as account:
        account.addresses = dict.fromkeys(("hotel", *NAMES), "127.0.0.1")
        account.primary(Port=port(fleet, "primary"))
        account.ports = {name: port(fleet, name) for name in NAMES}
        account.replica("replica-1")
        account.instance("replica-1").status = "backing-up"
        async with followed(THREADS, fleet, "rds:hotel?region=us-east-1") as seen:
            await served_by(seen, "replica-1")
            account.replica("replica-2")
            await served_by(seen, "replica-1", "replica-2")
            account.instance("replica-1").status = "deleting"
            await served_by(seen, "replica-2")
            with no_answer():
                await becomes(lambda: "The fleet stays as it is: PGFLEET_DISCOVERY" in caplog.text)
            await served_by(seen, "replica-2")
            account.instance("replica-2").status = "deleting"
            await served_by(seen, "primary")


@contextmanager
def no_answer() -> Iterator[None]:
    """AWS refuses whoever asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moto.rds.models.RDSBackend.describe_db_instances", refused)
        yield


def refused(*_: object, **__: object) -> None:
    rds_shim.refuse("AccessDenied", "User is not authorized")


class Forward(BaseRequestHandler):
    """One connection, passed on."""

    target: tuple[str, int]

    def handle(self) -> None:
        with socket.create_connection(self.target) as server:
            back = threading.Thread(target=pass_on, args=(server, self.request))
            back.start()
            pass_on(self.request, server)
            back.join()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class Forwarder(ThreadingTCPServer):
    """Listens where Cloud SQL says that an instance is: an address of its own, and the port of all."""

    daemon_threads = True
    block_on_close = True


@contextmanager
def addresses(fleet: LocalFleet) -> Iterator[tuple[dict[str, str], int]]:
    """For each node a loopback address of its own, and the one port that leads to each there."""
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as free:
        shared = free.getsockname()[1]
        given = {name: f"127.0.0.{10 + number}" for number, name in enumerate(NAMES)}
        for name, address in given.items():
            handler = type("To", (Forward,), {"target": ("127.0.0.1", port(fleet, name))})
            server = stack.enter_context(Forwarder((address, shared), handler))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        yield given, shared


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    with serving() as project:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials(tmp_path / "key.json", project)))
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL", project.endpoint)
        yield project


async def test_the_replicas_of_an_instance_of_cloud_sql_are_followed(
    fleet: LocalFleet, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    with addresses(fleet) as (given, shared):
        project.primary(ipAddresses=[{"type": "PRIMARY", "ipAddress": given["primary"]}])
        for name in NAMES[1:]:
            project.replica(name)
            project.instances[name]["ipAddresses"] = [{"type": "PRIMARY", "ipAddress": given[name]}]
        project.instances["replica-1"]["state"] = "ONLINE_MAINTENANCE"
        project.instances["replica-2"]["state"] = "PENDING_CREATE"
        place = f"cloudsql:{PROJECT}/hotel?ip=public&port={shared}"
        async with followed(TASKS, fleet, place, f"{given['primary']}:{shared}") as seen:
            await served_by(seen, "replica-1")
            project.instances["replica-2"]["state"] = "RUNNABLE"
            await served_by(seen, "replica-1", "replica-2")
            del project.instances["replica-1"]
            await served_by(seen, "replica-2")
            project.tokens.clear()
            await becomes(lambda: "The fleet stays as it is: PGFLEET_DISCOVERY" in caplog.text)
            await served_by(seen, "replica-2")


FILE = """
[fleet]
name = "hospitality"
[provider]
kind = "rds"
region = "us-east-1"
[primary]
instance = "hotel"
[[replica]]
name = "replica-1"
class = "db.r5.xlarge"
zone = "us-east-1a"
[[replica]]
name = "replica-2"
"""


def provision(file: Path, command: str, *args: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["provision", command, "--file", str(file), *args])
    assert done.exit_code == code, done.output
    return done


def test_a_fleet_at_rds_from_a_file_to_the_last_deletion(
    fleet: LocalFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(FILE)
    monkeypatch.setattr("pgfleet.provision.rds.provider.Pace", lambda: Pace(poll_s=0.0))
    monkeypatch.setenv("DATABASE_URL", fleet.dsn("primary", plain=True))
    monkeypatch.delenv("PGFLEET_FLEET_FILE", raising=False)
    with rds_shim.account() as account:
        account.addresses = dict.fromkeys(("hotel", *NAMES), "127.0.0.1")
        account.ports = {name: port(fleet, name) for name in NAMES}
        account.primary(Port=port(fleet, "primary"))
        planned = provision(file, "plan").stdout
        assert "create replica-1 (db.r5.xlarge, us-east-1a)" in planned
        assert "--availability-zone us-east-1a --no-publicly-accessible" in " ".join(planned.split())
        provision(file, "apply")
        assert "Nothing to do" in provision(file, "plan", "--check").stdout
        block = provision(file, "env").stdout
        assert f"@127.0.0.1:{port(fleet, 'replica-2')}/" in block
        provision(file, "verify")
        assert "Add --yes" in provision(file, "promote", "replica-1", code=2).stderr
        assert "replica-1 takes writes now" in provision(file, "promote", "replica-1", "--yes").stdout
        assert "replica-1: is no replica, it was promoted" in provision(file, "plan", code=2).stderr
        provision(file, "destroy", "--yes")
        assert account.names() == ["hotel", "replica-1"]


def test_what_the_local_fleet_does_not_do_is_said(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(f'[fleet]\nname = "a"\n[provider]\nkind = "local"\n{FILE.partition("hotel")[2][2:]}')
    assert (
        "the provider local promotes no replica"
        in provision(file, "promote", "replica-1", "--yes", code=2).stderr
    )
