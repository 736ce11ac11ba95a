"""A primary and its replica on this host: no SSH, no asyncssh."""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgfleet.core.changes import Action
from pgfleet.local.account import Account
from pgfleet.local.binaries import Binaries, find_binaries
from pgfleet.local.freeports import reserved_ports
from pgfleet.local.layout import state_root
from pgfleet.provision.apply import apply
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.provision.plan import plan_apply, plan_destroy
from pgfleet.provision.selfhosted import open_provider
from pgfleet.provision.selfhosted.shell import HereShell
from tests.daemons import scratch


class Here:
    """A primary that pg_ctl starts, and the file."""

    def __init__(self, directory: Path, account: Account, ports: tuple[int, int]) -> None:
        self.directory, self.ports = directory, ports
        self._account = account
        self._binaries: Binaries = find_binaries(None, account, state_root(account) / "cache")
        self.user = pwd.getpwuid(account.uid).pw_name

    @property
    def declaration(self) -> Declaration:
        common = {"os_user": self.user, "bin_directory": str(self._binaries.directory)}
        common["state_directory"] = str(self.directory / "state")
        primary = {"port": self.ports[0], "socket_directory": str(self.directory)}
        replica = {"port": self.ports[1], "data_directory": str(self.directory / "replica")}
        return Declaration(
            "house", "selfhosted", (WantedReplica("replica-1", options=replica),), common, primary
        )

    def start(self) -> None:
        data = self.directory / "primary"
        self.run("initdb", "-D", data, "-N", "--auth-local=peer", "--no-locale")
        with (data / "postgresql.conf").open("a") as file:
            file.write(f"unix_socket_directories = '{self.directory}'\nport = {self.ports[0]}\nfsync = off\n")
        self.run("pg_ctl", "-D", data, "-w", "-l", self.directory / "log", "start")

    def stop(self) -> None:
        for name in ("primary", "replica"):
            if (self.directory / name / "postmaster.pid").exists():
                self.run("pg_ctl", "-D", self.directory / name, "-w", "-m", "immediate", "stop")

    def run(self, tool: str, *argv: str | Path) -> str:
        with (self.directory / "said").open("a+") as said:
            done = self._account.run(self._binaries.tool(tool), *argv, log=said.fileno())
            said.seek(0)
            assert done.returncode == 0, said.read()
        return done.output


@pytest.fixture
def here() -> Iterator[Here]:
    account = Account.choose()
    with reserved_ports(2) as ports:
        pass
    with scratch(account) as directory:
        here = Here(directory, account, (ports[0], ports[1]))
        try:
            here.start()
            yield here
        finally:
            here.stop()


async def test_a_replica_on_the_primarys_own_host(here: Here) -> None:
    provider = open_provider(here.declaration, {})
    try:
        plan = await plan_apply(provider)
        assert plan.problems == ()
        assert plan.consents == ()
        await apply(provider, plan)
        assert (await plan_apply(provider)).steps == ()
        assert [end.port for end in await provider.endpoints()] == list(here.ports)
        told = (here.directory / "replica" / "postgresql.auto.conf").read_text()
        assert "application_name=replica-1" in told

        plan = await plan_destroy(provider)
        assert {step.change.action for step in plan.steps} == {Action.REMOVE}
        await apply(provider, plan)
        assert not (here.directory / "replica").exists()
        assert not (here.directory / "state").exists()
    finally:
        await provider.close()


@pytest.mark.parametrize("program", ["/nowhere/psql", "/etc/passwd/psql", "/etc/passwd"])
async def test_what_is_no_program_fails_as_a_command_does(program: str) -> None:
    ended = await HereShell().run((program,), "", None)
    assert ended.code == 127
    assert program in ended.last_words
