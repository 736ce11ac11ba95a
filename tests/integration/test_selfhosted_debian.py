"""The same on Debian's layout and its PostgreSQL 15: configuration in /etc, pg_ctlcluster, TLS between the nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgfleet.core.changes import Action
from pgfleet.testing import eventually
from tests.certificates import Certificates
from tests.hosts import USER, TestHost, TestHosts, test_hosts
from tests.selfhosted import DEBIAN_PORT, HOME, Work

MAJOR = str(max(int(path.name) for path in Path("/usr/lib/postgresql").glob("[0-9]*")))
AUTHORITY = f"{HOME}/ca.crt"
DATA = f"{HOME}/{MAJOR}/main"
ETC = f"/etc/postgresql/{MAJOR}/main"
TLS_SETTINGS = """
ssl = on
ssl_cert_file = '/var/lib/postgresql/server.crt'
ssl_key_file = '/var/lib/postgresql/server.key'
max_connections = 123
listen_addresses = '*'
wal_retrieve_retry_interval = '200ms'
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[TestHosts]:
    with test_hosts("one", "two", "three") as hosts:
        one = hosts["one"]
        one.run("pg_createcluster", MAJOR, "main", "-p", str(DEBIAN_PORT), "--", "-N", "--no-locale")
        give_certificates(hosts)
        one.run("tee", "-a", f"{ETC}/postgresql.conf", user=USER, stdin=TLS_SETTINGS)
        one.run("tee", "-a", f"{ETC}/pg_hba.conf", user=USER, stdin="hostssl all app all scram-sha-256\n")
        ctl(one, "start")
        one.psql(DEBIAN_PORT, "create table room (number int); insert into room values (7)")
        yield hosts


def ctl(host: TestHost, action: str) -> None:
    host.sh('pg_ctlcluster "$1" main "$2" >/dev/null 2>&1 </dev/null', MAJOR, action)


def give_certificates(hosts: TestHosts) -> None:
    certificates = Certificates(hosts.directory, f"IP:{hosts['one'].address}")
    certificates.make()
    for name in ("server.crt", "server.key"):
        hosts["one"].run("install", "-m", "600", "-o", USER, hosts.directory / name, f"{HOME}/{name}")
    for host in hosts.hosts.values():
        host.run("install", "-m", "644", "-o", USER, certificates.authority, AUTHORITY)


@pytest.fixture(scope="module")
def work(hosts: TestHosts) -> Work:
    return Work(
        hosts,
        "inn",
        {"replica-1": {"on": "two"}},
        primary={"port": DEBIAN_PORT},
        provider={"sslmode": "verify-full", "sslrootcert": AUTHORITY, "port": DEBIAN_PORT},
    )


async def test_a_cluster_of_debian_with_tls_and_a_slot_that_was_there(hosts: TestHosts, work: Work) -> None:
    one, two = hosts["one"], hosts["two"]
    one.psql(DEBIAN_PORT, "select pg_create_physical_replication_slot('inn_replica_1')")

    await work.apply()

    encrypted = "select application_name, ssl from pg_stat_replication join pg_stat_ssl using (pid)"
    assert one.psql(DEBIAN_PORT, encrypted) == "replica-1|t"
    rule = f"hostssl replication inn_replica_1 {two.address}/32 scram-sha-256"
    assert one.run("sed", "-n", "2p", f"{ETC}/pg_hba.conf") == rule
    assert two.run("cat", f"{DATA}/postgresql.auto.conf").count("sslmode=verify-full") == 1
    assert two.psql(DEBIAN_PORT, "show max_connections") == "123"
    assert two.psql(DEBIAN_PORT, "show config_file") == f"{ETC}/postgresql.conf"
    assert two.run("pg_lsclusters", "-h").split()[:4] == [
        str(MAJOR),
        "main",
        str(DEBIAN_PORT),
        "online,recovery",
    ]
    assert "hostssl all app all" in two.run("cat", f"{ETC}/pg_hba.conf"), (
        "applications come in as on the primary"
    )
    one.psql(DEBIAN_PORT, "insert into room values (8)")
    eventually(lambda: two.psql(DEBIAN_PORT, "select count(*) from room") == "2")


async def test_without_tls_nobody_gets_in(hosts: TestHosts, work: Work) -> None:
    """The line in pg_hba.conf is `hostssl`, so that a passfile is never asked for in clear."""
    await work.apply()
    asked = (
        f"user=inn_replica_1 host={hosts['one'].address} port={DEBIAN_PORT} replication=true sslmode=disable"
    )
    file = f"{HOME}/.pgfleet/inn/replica-1.pgpass"
    said = hosts["two"].sh(
        'echo IDENTIFY_SYSTEM | PGPASSFILE=$2 psql -X -w -d "$1" 2>&1 || true', asked, file, user=USER
    )
    assert "no encryption" in said
    said = hosts["two"].sh(
        'echo IDENTIFY_SYSTEM | PGPASSFILE=$2 psql -X -w -d "$1 sslmode=require" 2>&1', asked, file, user=USER
    )
    assert "systemid" in said


async def test_tls_that_the_file_lowers_is_a_change(hosts: TestHosts, work: Work) -> None:
    await work.apply()
    two = hosts["two"]
    two.psql(DEBIAN_PORT, "alter system set wal_retrieve_retry_interval = '200ms'; select pg_reload_conf()")
    work.provider["sslmode"] = "verify-ca"
    assert await work.to_do() == [(Action.CHANGE, "replica-1")]
    told = await work.apply()
    assert "replica-1: reloads" in told.lines, "its readers stay"
    work.provider["sslmode"] = "verify-full"
    await work.apply()


async def test_a_cluster_that_somebody_made_is_left_alone(hosts: TestHosts, work: Work) -> None:
    """What `apt install postgresql` makes by itself is not ours either."""
    three = hosts["three"]
    three.sh('mkdir -p "$1" && echo "$3" > "$1/PG_VERSION" && chown -R "$2": "$1"', DATA, USER, MAJOR)
    work.replicas["replica-2"] = {"on": "three"}
    try:
        assert f"(pg_dropcluster {MAJOR} main)" in await work.problems()
        three.sh('mkdir -p "$1" && echo "data_directory = \'/data\'" > "$1/postgresql.conf"', ETC)
        work.replicas["replica-2"]["data_directory"] = f"{HOME}/copy"
        assert "there is a cluster main, whose data are in /data" in await work.problems()
        three.run("rm", "-r", ETC)
        work.replicas["replica-2"] = {"on": "three", "cluster": "copy", "port": DEBIAN_PORT + 1}
        await work.apply()
        assert "copy" in three.run("pg_lsclusters", "-h")
    finally:
        del work.replicas["replica-2"]
    await work.apply()
    assert "copy" not in three.run("pg_lsclusters", "-h")
    assert three.run("ls", DATA) == "PG_VERSION"
    three.run("rm", "-r", DATA)


async def test_destroy_leaves_the_primary_as_it_was(hosts: TestHosts, work: Work) -> None:
    """The slot that was there before is not ours to drop."""
    await work.apply()
    await work.destroy()
    one, two = hosts["one"], hosts["two"]
    assert two.run("pg_lsclusters", "-h") == ""
    assert two.sh('ls -d "$1" "$2" 2>/dev/null || true', DATA, ETC) == ""
    assert "pgfleet" not in one.run("cat", f"{ETC}/pg_hba.conf")
    assert one.psql(DEBIAN_PORT, "select pg_is_in_recovery()") == "f"
