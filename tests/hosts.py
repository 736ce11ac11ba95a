"""Hosts of their own on this machine: each a network namespace with its own sshd, /etc/postgresql, /run and homes.

Root on Linux is needed, as CI is. A bridge joins them with the tests; its name and network are taken by whoever comes
first. Everything ends with the block that made it, however a test ends.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgfleet.local.account import Account
from pgfleet.local.binaries import Binaries, find_binaries
from pgfleet.local.layout import state_root
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.testing import eventually
from tests.daemons import Daemon, program, scratch

USER = "postgres"
OWN = {
    "etc": "/etc/postgresql",
    "home": "/var/lib/postgresql",
    "log": "/var/log/postgresql",
}
"""What each host has for itself: by the name below its directory, where it is seen."""

_ENTER = """
set -e
mount --make-rprivate /
if [ -e /root/.bashrc ]; then mount --bind /dev/null /root/.bashrc; fi
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd /run/postgresql
chown postgres: /run/postgresql
"""


@dataclass
class TestHost:
    """One host."""

    __test__ = False

    name: str
    address: str
    namespace: str
    directory: Path
    key: Path
    host_key: str
    account: Account
    sshd: Daemon

    def start(self) -> None:
        """Start its sshd, in namespaces that every session inherits."""
        self.sshd.start()
        eventually(self._answers)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self.address, 22), timeout=1):
            return True
        return False

    def run(self, *argv: str | Path, user: str = "", stdin: str = "", check: bool = True) -> str:
        """Run a command on it, as root or another; what it printed."""
        become = ("runuser", "-u", user, "--") if user else ()
        inside = ("nsenter", "-t", str(self._pid()), "-m", "-n", "-p", "--wd=/")
        done = subprocess.run(
            [str(word) for word in (*inside, *become, *argv)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C"},
        )
        assert done.returncode == 0 or not check, f"{self.name}: {shlex.join(map(str, argv))}: {done.stderr}"
        return done.stdout.strip()

    def sh(self, script: str, *args: str | Path, user: str = "", check: bool = True) -> str:
        """Run lines of sh."""
        return self.run("sh", "-c", script, "sh", *args, user=user, check=check)

    def psql(self, port: int, sql: str) -> str:
        """Ask a server on it, as its superuser."""
        return self.run(
            "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "/run/postgresql", "-p", str(port),
            "-d", "postgres", user=USER, stdin=sql,
        )  # fmt: skip

    def _pid(self) -> int:
        """Its sshd: the namespaces are those of that."""
        for pid in self.pids():
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sshd: /"):
                    return pid
        raise AssertionError(f"{self.name}: sshd does not run: {self.sshd.said()}")

    def pids(self) -> list[int]:
        """Every process on it."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False
        )
        return [int(word) for word in listed.stdout.split()]

    def cut_sessions(self) -> None:
        """End the ssh sessions that are open, as a broken network does; sshd itself stays."""
        for pid in self.pids():
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sshd: root"):
                    os.kill(pid, signal.SIGKILL)

    def living(self, program: str) -> list[str]:
        """The processes of a program that are no zombies, by their numbers there."""
        listed = self.run("ps", "-C", program, "-o", "pid=,stat=", check=False).splitlines()
        return [pid for pid, state in (line.split() for line in listed) if state[0] != "Z"]

    def lose_connections(self) -> None:
        """Drop every packet of the ssh connections that are open: neither side is told. New ones go through."""
        peers = self.run("ss", "-Htn", "state", "established", "sport = :22").splitlines()
        ports = ", ".join(line.split()[-1].rpartition(":")[2] for line in peers)
        both = f"tcp dport 22 tcp sport {{ {ports} }} drop"
        rules = f"table inet lost {{\nchain c {{\ntype filter hook input priority 0\n{both}\n}}\n}}\n"
        self.run("nft", "-f", "-", stdin=rules)

    def find_connections(self) -> None:
        """Let them through again."""
        self.run("nft", "delete", "table", "inet", "lost")

    def kill_servers(self) -> None:
        """End each PostgreSQL on it at once, with its shared memory."""

        def gone() -> bool:
            found = [pid for pid in self.pids() if _is_postmaster(pid)]
            for pid in found:
                with suppress(OSError):
                    os.kill(pid, signal.SIGQUIT)
            return not found

        eventually(gone)

    def end(self) -> None:
        """Kill every process on it: the postmasters first, so that none waits for another."""

        def gone() -> bool:
            for pid in (found := self.pids()):
                with suppress(OSError):
                    os.kill(pid, signal.SIGQUIT if _is_postmaster(pid) else signal.SIGKILL)
            return not found

        eventually(gone, 20)
        self.sshd.end()


def _is_postmaster(pid: int) -> bool:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return words[0].endswith(b"/postgres") and b"-D" in words
    return False


@dataclass
class TestHosts:
    """A network of them."""

    __test__ = False

    directory: Path
    hosts: dict[str, TestHost]
    wheel: Binaries
    bridge: str

    def __getitem__(self, name: str) -> TestHost:
        return self.hosts[name]

    def login(self, name: str) -> dict[str, Any]:
        """The keys of `fleet.toml` that reach a host."""
        host = self.hosts[name]
        return {"host": host.address, "host_key": host.host_key, "ssh_user": "root", "ssh_key": str(host.key)}

    def declaration(
        self,
        fleet: str,
        primary: Mapping[str, Any],
        replicas: Mapping[str, Mapping[str, Any]],
        provider: Mapping[str, Any] | None = None,
    ) -> Declaration:
        """A fleet whose primary is on the host `one`; each replica names its host by `on`."""
        wanted = []
        for name, options in replicas.items():
            rest = dict(options)
            wanted.append(WantedReplica(name, options={**self.login(rest.pop("on", "two")), **rest}))
        return Declaration(
            fleet,
            "selfhosted",
            tuple(wanted),
            options=dict(provider or {}),
            primary={**self.login("one"), **primary},
            directory=str(self.directory),
        )


@contextmanager
def test_hosts(*names: str) -> Iterator[TestHosts]:
    """Some hosts, in a network of their own."""
    account = Account.choose()
    with ExitStack() as stack:
        directory = stack.enter_context(scratch(account))
        wheel = find_binaries(None, account, state_root(account) / "cache")
        number = stack.enter_context(_bridge())
        keygen("client", directory)
        hosts = {}
        for place, name in enumerate(names, 1):
            host = _host(account, directory, name, number, place)
            stack.enter_context(_namespace(host, number, place))
            stack.callback(host.end)
            host.start()
            hosts[name] = host
        yield TestHosts(directory, hosts, wheel, f"pgf{number}")


test_hosts.__test__ = False  # type: ignore[attr-defined]


def keygen(name: str, directory: Path) -> Path:
    """A key pair."""
    path = directory / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextmanager
def _bridge() -> Iterator[int]:
    """A network 10.77.<number>.0/24 that nobody has."""
    for number in range(1, 250):
        made = subprocess.run(
            ["ip", "link", "add", f"pgf{number}", "type", "bridge"], capture_output=True, check=False
        )
        if made.returncode == 0:
            break
    else:
        raise AssertionError(f"no network can be made: {made.stderr.decode()}")
    try:
        _ip("addr", "add", f"10.77.{number}.254/24", "dev", f"pgf{number}")
        _ip("link", "set", f"pgf{number}", "up")
        yield number
    finally:
        _ip("link", "del", f"pgf{number}")


@contextmanager
def _namespace(host: TestHost, number: int, place: int) -> Iterator[None]:
    inner, outer = host.namespace, f"pgf{number}v{place}"
    _ip("netns", "add", inner)
    try:
        _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", inner)
        _ip("link", "set", outer, "master", f"pgf{number}", "up")
        _ip("-n", inner, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", inner, "link", "set", "eth0", "up")
        _ip("-n", inner, "link", "set", "lo", "up")
        yield
    finally:
        subprocess.run(
            ["ip", "link", "del", outer], capture_output=True, check=False
        )  # the kernel takes its time
        _ip("netns", "del", inner)


def _host(account: Account, directory: Path, name: str, number: int, place: int) -> TestHost:
    home = directory / name
    home.mkdir(mode=0o755)
    for part in OWN:
        (home / part).mkdir(mode=0o755)
        account.give(home / part)
    key = keygen("host_key", home)
    address, namespace = f"10.77.{number}.{place}", f"pgf{number}-{name}"
    shutil.copy(directory / "client.pub", home / "authorized_keys")
    (home / "sshd_config").write_text(
        f"HostKey {key}\nListenAddress {address}\nAuthorizedKeysFile {home}/authorized_keys\nStrictModes no\n"
        "PermitRootLogin prohibit-password\nUsePAM no\nPidFile none\nMaxStartups 50\nPasswordAuthentication no\n"
    )

    shadow = re.sub(
        r"(?m)^postgres:[^:]*", "postgres:*", Path("/etc/shadow").read_text()
    )  # not locked: it may log in
    (home / "shadow").touch(mode=0o600)
    (home / "shadow").write_text(shadow)
    mounts = f"mount --bind {home}/shadow /etc/shadow\n" + "".join(
        f"mount --bind {home / part} {seen}\n" for part, seen in OWN.items()
    )
    script = f"{_ENTER}{mounts}. {home}/extra\nexec {program('sshd')} -D -e -f {home}/sshd_config\n"
    (home / "extra").write_text("")
    root = Account(0, 0)
    alone = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    sshd = Daemon(root, home / "sshd.log", "ip", "netns", "exec", namespace, *alone, "sh", "-c", script)
    return TestHost(
        name,
        address,
        namespace,
        home,
        directory / "client",
        key.with_suffix(".pub").read_text().strip(),
        account,
        sshd,
    )
