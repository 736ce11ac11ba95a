"""Replicas on one's own hosts: real sshd, real PostgreSQL 18, and what goes wrong between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from pgfleet.core.changes import Action
from pgfleet.errors import ProvisionError
from pgfleet.provision.selfhosted import ssh
from pgfleet.testing import eventually
from tests.hosts import USER, TestHosts, keygen, test_hosts
from tests.selfhosted import HOME, PORT, PRIMARY, SOCKETS, Ended, Work, clean, pg_ctl, start_primary

DATA = f"{HOME}/copy"
RESTART = "restart"
SUDO = """#!/bin/sh
if [ "$1" = -u ]; then user=$2; shift 2; exec runuser -u "$user" -- "$@"; fi
exec "$@"
"""
SYSTEMCTL = """#!/bin/sh
echo "$*" >> {log}
case $1 in
start) set -- start -l {data}.log ;;
restart|stop) set -- "$1" -m fast ;;
cat) exit 0 ;;
esac
exec runuser -u {user} -- {bin}/pg_ctl -D {data} -w "$@" >/dev/null 2>&1
"""
NO_SSH = """
table inet gone {
    chain incoming {
        type filter hook input priority 0
        tcp dport 22 reject with tcp reset
    }
}
"""
BELOW_REPLICA = {"wal_level": "minimal", "max_wal_senders": "0", "wal_keep_size": "0"}


@pytest.fixture(scope="module")
def hosts() -> Iterator[TestHosts]:
    with test_hosts("one", "two", "three") as hosts:
        start_primary(
            hosts,
            {
                "unix_socket_directories": SOCKETS,
                "log_statement": "all",
                "log_min_duration_statement": "0",
                "fsync": "off",
                "wal_retrieve_retry_interval": "200ms",
                **BELOW_REPLICA,
            },
        )
        yield hosts


@pytest.fixture
def work(hosts: TestHosts) -> Iterator[Work]:
    """A fleet of the test's own: one replica, on the host `two`."""
    yield make(hosts, "hotel", "two")
    clean(hosts)


def make(hosts: TestHosts, fleet: str, *on: str) -> Work:
    bin_directory = str(hosts.wheel.directory)
    replicas = {
        f"replica-{number}": {"on": host, "data_directory": DATA} for number, host in enumerate(on, 1)
    }
    return Work(
        hosts,
        fleet,
        replicas,
        primary={"socket_directory": SOCKETS},
        provider={"bin_directory": bin_directory},
    )


@pytest.fixture
async def applied(work: Work) -> Work:
    await work.apply(RESTART)
    return work


def replicas_seen(hosts: TestHosts) -> list[str]:
    asked = "select application_name || ' ' || usename || ' ' || host(client_addr) from pg_stat_replication order by 1"
    return hosts["one"].psql(PORT, asked).splitlines()


async def test_from_nothing_to_two_replicas_and_back(hosts: TestHosts) -> None:
    work = make(hosts, "chain", "two", "three")
    one, two = hosts["one"], hosts["two"]
    hba = one.run("cat", f"{PRIMARY}/pg_hba.conf")
    with pytest.raises(ProvisionError, match=r"(?s)wal_level minimal -> replica.*consent \(restart\)"):
        await work.try_apply()
    assert one.psql(PORT, "show wal_level") == "minimal"

    told = await work.apply(RESTART)

    addresses = [hosts[name].address for name in ("two", "three")]
    assert replicas_seen(hosts) == [
        f"replica-{number} chain_replica_{number} {address}" for number, address in enumerate(addresses, 1)
    ]
    assert {"replica-1: streams", "replica-2: streams"} <= set(told.lines)
    assert any(re.match(r"replica-1: \d+ % of \d+.\d MB copied", line) for line in told.lines)
    assert await work.endpoints() == [
        f"{name} {hosts[on].address}:{PORT}"
        for name, on in (("primary", "one"), ("replica-1", "two"), ("replica-2", "three"))
    ]
    one.psql(PORT, "insert into room values (8)")
    eventually(lambda: two.psql(PORT, "select count(*) from room") == "2")
    assert one.psql(PORT, "select count(*) from pg_replication_slots where active") == "2"
    see_no_password(hosts)

    del work.replicas["replica-2"]
    assert Action.REMOVE in {action for action, _ in await work.to_do()}
    await work.apply()
    assert hosts["three"].run("ls", HOME) == ""
    assert len(replicas_seen(hosts)) == 1

    await work.destroy()
    await work.destroy()
    assert two.run("ls", "-A", HOME) == ""
    assert one.run("cat", f"{PRIMARY}/pg_hba.conf") == hba
    left = (
        "select (select count(*) from pg_replication_slots) + count(*) from pg_roles where rolname ~ '^chain'"
    )
    assert one.psql(PORT, left) == "0"


def see_no_password(hosts: TestHosts) -> None:
    """It is in the passfile alone, which only its owner reads: in no log, configuration or statement."""
    two, passfile = hosts["two"], f"{HOME}/.pgfleet/chain/replica-1.pgpass"
    password = two.run("cat", passfile).rpartition(":")[2]
    assert len(password) > 30
    assert two.run("stat", "-c", "%a %U", passfile) == f"600 {USER}"
    assert two.run("grep", "-rlF", password, HOME, check=False) == passfile
    one = hosts["one"]
    assert one.run("grep", "-rlF", password, HOME, check=False) == ""
    assert one.run("grep", "-c", "SCRAM-SHA-256", f"{PRIMARY}.log", check=False) == "0"
    assert "chain_replica_1" in one.run("cat", f"{PRIMARY}.log")


async def test_the_commands_of_the_plan_do_the_same_by_hand(hosts: TestHosts, work: Work) -> None:
    """Typed one after another, where the plan says; sudo is a stand-in, and the password is typed too."""
    plan = await work.plan()
    by_address = {host.address: host for host in hosts.hosts.values()}
    (hosts.directory / "sudo").write_text(SUDO)
    (hosts.directory / "sudo").chmod(0o755)
    for line in [line for step in plan.steps for line in step.commands]:
        if line.startswith("# on "):
            host = by_address[line.removeprefix("# on ")]
        else:
            typed = f"export PATH={hosts.directory}:$PATH REPLICATION_PASSWORD=pa55; cd /; {line}"
            host.run("setsid", "-w", "sh", "-ec", typed, stdin="pa55\npa55\n")
    assert [change.resource.kind for change in plan.keeps] in ([], ["settings"])
    eventually(lambda: replicas_seen(hosts) == [f"replica-1 hotel_replica_1 {hosts['two'].address}"])
    assert hosts["two"].psql(PORT, "show primary_slot_name") == "hotel_replica_1"
    with pytest.raises(ProvisionError, match="bears not the mark"):
        await work.try_apply()


async def test_an_apply_that_is_ended_after_any_step_goes_on(hosts: TestHosts, work: Work) -> None:
    """Each apply is thrown out after its first step; together they do what one does, and no step is done twice."""
    ended: list[str] = []

    def end(line: str) -> None:
        if line.startswith("ended"):
            ended.append(line)
            raise Ended

    while await work.to_do():
        with pytest.raises(ProvisionError, match="Ended"):
            await work.try_apply(RESTART, hook=end)
    assert len(ended) >= 4
    assert len(set(ended)) == len(ended)
    assert len(replicas_seen(hosts)) == 1


async def test_a_connection_lost_in_mid_backup(
    hosts: TestHosts, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its packets are lost, so the host does not know: the backup goes on. The next apply ends it and begins again."""
    two = hosts["two"]
    monkeypatch.setattr(ssh, "ALIVE_EVERY_S", 0.2)

    def cut(line: str) -> None:
        if re.search(r"\d\d % of", line):
            two.lose_connections()

    work.provider["max_rate"] = "2M"
    with pytest.raises(ProvisionError, match=r"connection to .* was lost"):
        await work.try_apply(RESTART, hook=cut)
    backups = two.living("pg_basebackup")
    assert backups
    two.run("kill", "-STOP", *backups)  # as one that waits for its disk: no error of its own ends it
    del work.provider["max_rate"]
    running = {}

    def look(line: str) -> None:
        running[line] = not set(backups).isdisjoint(two.living("pg_basebackup"))

    try:
        assert (Action.FINISH, "replica-1") in await work.to_do()
        await work.apply(hook=look)
        assert [gone for line, gone in running.items() if "copies" in line] == [False]
    finally:
        two.find_connections()


async def test_an_ssh_session_that_is_ended_in_mid_backup(hosts: TestHosts, work: Work) -> None:
    """As sshd's end does: both sides know."""

    def cut(line: str) -> None:
        if "copies" in line:
            hosts["two"].cut_sessions()

    with pytest.raises(ProvisionError, match=r"connection to .* was lost"):
        await work.try_apply(RESTART, hook=cut)
    await work.apply()


async def test_a_disk_that_is_too_small_and_one_that_fills(hosts: TestHosts, work: Work) -> None:
    two, disk = hosts["two"], f"{HOME}/disk"
    work.replicas["replica-1"]["data_directory"] = f"{disk}/data"
    two.sh('mkdir "$1" && mount -t tmpfs -o size=64M tmpfs "$1" && chown "$2": "$1"', disk, USER)
    try:
        assert re.search(r"64.0 MB free and the copy needs 2\d\d", await work.problems())
        two.run("mount", "-o", "remount,size=400M", disk)

        def fill(line: str) -> None:
            if "copies" in line:
                two.sh('head -c 450M /dev/zero > "$1/filler" 2>/dev/null || true', disk)

        with pytest.raises(ProvisionError, match=r"(?s)No space left on device.*hint: make room"):
            await work.try_apply(RESTART, hook=fill)
        two.run("rm", f"{disk}/filler")
        await work.apply()
    finally:
        two.kill_servers()
        two.run("umount", disk)
        two.run("rmdir", disk)


async def test_a_data_directory_that_is_not_ours_is_left_alone(hosts: TestHosts, applied: Work) -> None:
    two = hosts["two"]
    applied.replicas["replica-2"] = {"on": "two", "data_directory": f"{HOME}/photos", "port": 5440}
    two.sh('mkdir "$1" && touch "$1/cat.jpg" && chown -R "$2": "$1"', f"{HOME}/photos", USER)
    assert "photos on" in await applied.problems()
    with pytest.raises(ProvisionError, match=r"not empty and was not made by this file"):
        await applied.try_apply()
    assert two.run("ls", f"{HOME}/photos") == "cat.jpg"
    assert "5440" not in hosts["one"].run("cat", f"{PRIMARY}/pg_hba.conf")
    two.run("rm", "-r", f"{HOME}/photos")
    del applied.replicas["replica-2"]


@pytest.mark.parametrize("moment", ["ended create slot", "copies"])
async def test_a_directory_that_is_filled_after_the_plan_is_left_alone(
    hosts: TestHosts, work: Work, moment: str
) -> None:
    """Before its copy begins, and in the very moment: nothing may say afterwards that it is ours."""

    def fill(line: str) -> None:
        if moment in line:
            hosts["two"].sh('mkdir -p "$1" && touch "$1/cat.jpg" && chown -R "$2": "$1"', DATA, USER)

    with pytest.raises(ProvisionError, match=r"not ours to touch"):
        await work.try_apply(RESTART, hook=fill)
    assert "was not made by this file" in await work.problems()
    assert hosts["two"].run("ls", DATA) == "cat.jpg"


async def test_a_replica_that_was_promoted_is_nobodys_to_remove(hosts: TestHosts, applied: Work) -> None:
    two, pg = hosts["two"], hosts.wheel.directory / "pg_ctl"
    two.run(pg, "-D", DATA, "promote", "-w", user=USER)
    assert "it was promoted" in await applied.problems()
    await applied.destroy()
    assert two.psql(PORT, "select pg_is_in_recovery()") == "f"
    pg_ctl(hosts, two, DATA, "stop")
    two.sh('rm -rf "$1" "$2"', DATA, f"{HOME}/.pgfleet")


async def test_what_drifts_is_mended(hosts: TestHosts, applied: Work) -> None:
    """A standby that was stopped, one whose settings fell behind the primary's, one whose password was changed."""
    one, two = hosts["one"], hosts["two"]
    pg_ctl(hosts, two, DATA, "stop")
    assert await applied.to_do() == [(Action.FINISH, "replica-1")]
    await applied.apply()

    one.psql(PORT, "alter system set max_connections = 111")
    pg_ctl(hosts, one, PRIMARY, "restart")
    eventually(lambda: replicas_seen(hosts))
    assert await applied.to_do() == [(Action.CHANGE, "replica-1")]
    one.psql(PORT, "alter role hotel_replica_1 password 'another'")
    assert (Action.FINISH, "hotel_replica_1") in await applied.to_do()
    await applied.apply()
    assert two.psql(PORT, "show max_connections") == "111"

    passfile = f"{HOME}/.pgfleet/hotel/replica-1.pgpass"
    two.run("chmod", "644", passfile)
    assert await applied.to_do() == [(Action.FINISH, "hotel_replica_1")], (
        "libpq passes over a file that others read"
    )
    await applied.apply()
    assert two.run("stat", "-c", "%a", passfile) == "600"

    one.psql(PORT, "alter system reset max_connections")
    pg_ctl(hosts, one, PRIMARY, "restart")
    eventually(lambda: replicas_seen(hosts))


async def test_a_slot_that_lost_its_wal_means_a_new_copy(hosts: TestHosts, applied: Work) -> None:
    one, two = hosts["one"], hosts["two"]
    pg_ctl(hosts, two, DATA, "stop")
    one.psql(PORT, "alter system set max_slot_wal_keep_size = '1MB'")
    one.psql(PORT, "select pg_reload_conf()")
    switch = "insert into room values (1); select pg_switch_wal(); checkpoint"
    lost = "select wal_status from pg_replication_slots"
    eventually(lambda: one.psql(PORT, switch) and one.psql(PORT, lost) == "lost")
    assert await applied.to_do() == [(Action.FINISH, "hotel_replica_1"), (Action.FINISH, "replica-1")]

    def end(line: str) -> None:
        if line.startswith("ended"):
            raise Ended

    with pytest.raises(ProvisionError, match="Ended"):
        await applied.try_apply(hook=end)
    assert await applied.to_do() == [(Action.FINISH, "replica-1")]
    one.psql(PORT, "alter system set max_slot_wal_keep_size = '1GB'")
    one.psql(PORT, "select pg_reload_conf()")
    told = await applied.apply()
    assert "replica-1: streams" in told.lines


async def test_a_host_that_is_gone_is_forgotten_when_the_file_forgets_it(
    hosts: TestHosts, applied: Work
) -> None:
    hosts["two"].run("nft", "-f", "-", stdin=NO_SSH)
    try:
        assert "cannot be reached by SSH" in await applied.problems()
        applied.replicas.clear()
        applied.replicas["replica-2"] = {"on": "three", "data_directory": DATA}
        told = await applied.apply()
        assert any("can log in no more" in line for line in told.lines)
        assert [line.split()[0] for line in replicas_seen(hosts)][-1] == "replica-2"
    finally:
        hosts["two"].run("nft", "delete", "table", "inet", "gone")
        pg_ctl(hosts, hosts["two"], DATA, "stop")
        hosts["two"].sh('rm -rf "$1" "$2"', DATA, f"{HOME}/.pgfleet")


async def test_what_is_wrong_is_named_at_plan_time_and_nothing_is_changed(
    hosts: TestHosts, work: Work
) -> None:
    """The host keys, ours, the user, the version, the address: each with its next step."""
    stranger = keygen("stranger", hosts["three"].directory)
    one, two = hosts["one"], hosts["two"]
    before = one.run("cat", f"{PRIMARY}/pg_hba.conf")
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "host-key": ({"host_key": stranger.with_suffix(".pub").read_text().strip()}, "its host key is not the one"),
        "no-key": ({"host_key": hosts["two"].host_key, "ssh_key": str(stranger)}, "SSH takes none of our keys"),
        "key-file": ({"host_key": hosts["two"].host_key, "ssh_key": "/nowhere/key"}, "/nowhere/key cannot be read"),
        "port": ({"ssh_port": 23}, "port 23 cannot be reached by SSH"),
        "sudo": ({"ssh_user": USER, "os_user": "backup"}, "lets postgres not become backup"),
        "user": ({"os_user": "nemo"}, "has no user nemo"),
        "version": ({"bin_directory": "/usr/lib/postgresql/15/bin"}, "needs PostgreSQL 18 as the primary has it, and"),
        "state": ({"state_directory": "/proc/pgfleet"}, "cannot write to /proc/pgfleet"),
        "rootcert": ({"sslmode": "verify-full", "sslrootcert": "/ca.crt"}, "cannot read /ca.crt"),
    }  # fmt: skip
    work.replicas = {
        name: {"on": "two", "data_directory": f"{HOME}/{name}", "port": 5500 + number, **options}
        for number, (name, (options, _)) in enumerate(wrong.items())
    }
    problems = (await work.problems()).splitlines()
    for name, (_, told) in wrong.items():
        assert any(
            told in line and (name in line or "SSH" in line or "host key" in line) for line in problems
        ), told
    assert any("asks for TLS, and ssl is off" in line for line in problems)
    with pytest.raises(ProvisionError):
        await work.try_apply(RESTART)
    assert one.run("cat", f"{PRIMARY}/pg_hba.conf") == before
    assert two.run("ls", "-A", HOME) == ""


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"database_user": "guest"}, "no superuser", "database_user"),
        ({"database_user": "nobody"}, "Peer authentication failed", "database_user"),
        ({"port": 5999}, "No such file", "port"),
        ({"ssh_port": 23}, "cannot be reached by SSH", "firewall"),
        ({"bin_directory": "/nowhere"}, "psql failed", "bin_directory"),
    ],
)
async def test_a_primary_that_cannot_be_asked(
    work: Work, options: dict[str, object], message: str, hint: str
) -> None:
    work.primary.update(options)
    error = await work.refusal()
    assert message in error.message
    assert hint in error.hint


async def test_a_primary_that_is_a_standby(hosts: TestHosts, applied: Work) -> None:
    mistaken = make(hosts, "other", "three")
    mistaken.primary |= hosts.login("two")
    assert "is a standby, not a primary" in (await mistaken.refusal()).message
    await applied.destroy()


async def test_systemd_starts_and_stops_it_where_it_has_a_unit(hosts: TestHosts) -> None:
    """A stand-in for systemctl: there is no systemd in a network namespace."""
    three = hosts["three"]
    stand_in = three.directory / "systemctl"
    stand_in.write_text(
        SYSTEMCTL.format(data=DATA, bin=hosts.wheel.directory, user=USER, log=three.directory / "asked")
    )
    stand_in.chmod(0o755)
    three.run("mkdir", "-p", "/run/systemd/system")
    three.run("mount", "--bind", stand_in, "/usr/bin/systemctl")
    work = make(hosts, "inn", "three")
    try:
        await work.apply(RESTART)
        work.replicas["replica-1"]["port"] = PORT + 1
        await work.apply()
        await work.destroy()
        asked = (three.directory / "asked").read_text().splitlines()
        assert [line for line in asked if "cat" not in line] == [
            f"{action} postgresql-18" for action in ("start", "restart", "stop")
        ]
    finally:
        three.run("umount", "/usr/bin/systemctl")
        three.run("rmdir", "/run/systemd/system")
        clean(hosts)


async def test_a_port_that_is_changed_restarts_the_replica_however_often_it_takes(
    hosts: TestHosts, applied: Work
) -> None:
    """An apply that is ended between the writing and the restart leaves a server that has not taken it."""
    applied.replicas["replica-1"]["port"] = PORT + 1
    assert await applied.to_do() == [(Action.CHANGE, "replica-1")]

    def end(line: str) -> None:
        if line.endswith("restarts"):
            raise Ended

    with pytest.raises(ProvisionError, match="Ended"):
        await applied.try_apply(hook=end)
    assert await applied.to_do() == [(Action.FINISH, "replica-1")]
    await applied.apply()
    assert hosts["two"].psql(PORT + 1, "select pg_is_in_recovery()") == "t"
