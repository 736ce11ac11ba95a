"""Nodes that cannot be asked."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator

from tests.dropping import dropping_port
from tests.planned.stage import BRIEF, Case, Stage, planned


@planned("the name of a replica does not resolve", "dns-failed", "replica-2", "no-walsender")
def dns(stage: Stage) -> Iterator[Case]:
    with stage.redirected("replica-2", 1):
        stage.until("primary", "count(*) = 1 from pg_stat_replication")
        yield stage.second_at("postgresql://app:x@nosuch.invalid/postgres")


@planned("the socket of a replica is not there", "socket-missing", "replica-2")
def socket_missing(stage: Stage) -> Iterator[Case]:
    yield stage.second_at("postgresql://app:x@/postgres?host=/nonexistent")


@planned("a replica is killed", "tcp-refused", "replica-2", "slot-inactive", "no-walsender")
def killed(stage: Stage) -> Iterator[Case]:
    stage.fleet.kill("replica-2")
    stage.until("primary", "not active from pg_replication_slots where slot_name = 'replica_2'")
    yield stage.case()
    stage.fleet.start("replica-2")
    stage.until_whole()


@planned("no route leads to a replica", "host-unreachable", "replica-2")
def no_route(stage: Stage) -> Iterator[Case]:
    yield stage.second_at(
        "postgresql://app:x@224.0.0.1/postgres"
    )  # the kernel lets nobody connect to a group


@planned("a firewall drops what is sent to a replica", "tcp-timeout", "replica-2")
def dropped(stage: Stage) -> Iterator[Case]:
    with dropping_port() as port:
        yield stage.second_at(f"postgresql://app:x@127.0.0.1:{port}/postgres", patience=BRIEF)


@planned("a replica is frozen", "node-silent", "replica-2")
def frozen(stage: Stage) -> Iterator[Case]:
    stage.fleet.freeze("replica-2")
    yield stage.case(patience=BRIEF)
    stage.fleet.thaw("replica-2")


@planned("something else listens on the port of a replica", "not-postgresql", "replica-2")
def another_protocol(stage: Stage) -> Iterator[Case]:
    with _http() as port:
        yield stage.second_at(f"postgresql://app:x@127.0.0.1:{port}/postgres")


@planned("TLS is asked of a server without it", "tls-not-offered", "replica-2")
def no_tls(stage: Stage) -> Iterator[Case]:
    yield stage.second_at(stage.fleet.dsn("replica-2") + "?sslmode=require")


@planned("a certificate is signed by a stranger", "tls-certificate", "replica-2")
def certificate(stage: Stage) -> Iterator[Case]:
    dsn = stage.older.dsn("primary")
    yield stage.second_at(f"{dsn}?sslmode=verify-ca&sslrootcert={stage.certificates.stranger}")


@planned("the file of the authority is missing", "tls-failed", "replica-2")
def no_authority(stage: Stage) -> Iterator[Case]:
    yield stage.second_at(stage.older.dsn("primary") + "?sslmode=verify-full&sslrootcert=/nonexistent")


@planned("a standby takes no connections yet", "node-starting", "replica-2")
def starting(stage: Stage) -> Iterator[Case]:
    server = stage.fleet._cluster().server("replica-2")
    own = stage.fleet.node("replica-2").data_directory / "postgresql.auto.conf"
    before = own.read_text()
    stage.fleet.stop("replica-2")
    own.write_text(f"{before}hot_standby = 'off'\n")
    server.spawn()
    stage.until("primary", "count(*) = 2 from pg_stat_replication where state = 'streaming'")
    yield stage.case()
    stage.fleet.stop("replica-2")
    own.write_text(before)
    stage.fleet.start("replica-2")
    stage.until_whole()


@planned("every connection of the role is taken", "connections-full", "primary")
def full(stage: Stage) -> Iterator[Case]:
    stage.sql("primary", "alter role app connection limit 0")
    stage.until_whole()
    yield stage.case(plain=True)
    stage.sql("primary", "alter role app connection limit -1")
    stage.until_whole()


@planned("the role may not log in", "login-refused", "replica-2")
def locked_role(stage: Stage) -> Iterator[Case]:
    stage.sql("primary", "create role locked nologin password 'x'")
    stage.until_whole()
    yield stage.second_at(_as("locked:x", stage.fleet.dsn("replica-2")))
    stage.sql("primary", "drop role locked")


@planned("the password is wrong", "password-wrong", "replica-2")
def wrong_password(stage: Stage) -> Iterator[Case]:
    yield stage.second_at(_as("app:wr0ng", stage.fleet.dsn("replica-2")))


@planned("there is no password", "password-missing", "replica-2")
def no_password(stage: Stage) -> Iterator[Case]:
    yield stage.second_at(_as("app", stage.fleet.dsn("replica-2")))


@planned("the database does not exist", "database-missing", "replica-2")
def no_database(stage: Stage) -> Iterator[Case]:
    yield stage.second_at(stage.fleet.dsn("replica-2").replace("/postgres", "/nosuch"))


@planned("the role may not connect to the database", "connect-denied", "replica-2")
def connect_denied(stage: Stage) -> Iterator[Case]:
    stage.sql("primary", "revoke connect on database template1 from public")
    stage.until_whole()
    yield stage.second_at(stage.fleet.dsn("replica-2", plain=True).replace("/postgres", "/template1"))
    stage.sql("primary", "grant connect on database template1 to public")


@planned(
    "the connection string asks for a setting that the server does not know", "connection-failed", "replica-2"
)
def unknown_setting(stage: Stage) -> Iterator[Case]:
    yield stage.second_at(stage.fleet.dsn("replica-2") + "?options=-c%20nosuch%3D1")


@planned("no primary answers", "tcp-refused", "primary", "no-primary")
def primary_killed(stage: Stage) -> Iterator[Case]:
    stage.fleet.kill("primary")
    yield stage.case()
    stage.fleet.start("primary")
    stage.until_whole()


def _as(credentials: str, dsn: str) -> str:
    return f"postgresql://{credentials}@{dsn.rpartition('@')[2]}"


@contextlib.contextmanager
def _http() -> Iterator[int]:
    """A server that answers everything as an HTTP server does."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1024)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()
