"""A primary on a host of its own, and the provider over it, as `pgfleet provision` uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pgfleet.core.changes import Action
from pgfleet.errors import ProvisionError
from pgfleet.provision.apply import Unseen, apply
from pgfleet.provision.declaration import Declaration
from pgfleet.provision.plan import Plan, plan_apply, plan_destroy
from pgfleet.provision.provider import Provider, Step
from pgfleet.provision.selfhosted import open_provider
from tests.hosts import USER, TestHost, TestHosts

SOCKETS = "/run/postgresql"
HOME = "/var/lib/postgresql"
PRIMARY = f"{HOME}/primary"
PORT = 5432
DEBIAN_PORT = 5433


class Ended(Exception):
    """The process that applied is gone: a test threw it out."""


@dataclass
class Told(Unseen):
    """Whoever follows the work, and may break it: `hook` sees each line and each end of a step."""

    hook: Callable[[str], None] = lambda line: None
    lines: list[str] = field(default_factory=list)

    def told(self, step: Step, line: str) -> None:
        self.lines.append(line)
        self.hook(line)

    def ended(self, step: Step, took_s: float) -> None:
        self.hook(f"ended {step.title}")


@dataclass
class Work:
    """One fleet, as its file says now."""

    hosts: TestHosts
    fleet: str
    replicas: dict[str, dict[str, Any]]
    primary: dict[str, Any] = field(default_factory=dict)
    provider: dict[str, Any] = field(default_factory=dict)

    @property
    def declaration(self) -> Declaration:
        return self.hosts.declaration(self.fleet, self.primary, self.replicas, self.provider)

    async def plan(self) -> Plan:
        plan: Plan = await self._with(plan_apply)
        return plan

    async def problems(self) -> str:
        return "\n".join((await self.plan()).problems)

    async def apply(self, *allowed: str, hook: Callable[[str], None] = lambda line: None) -> Told:
        """Plan, carry out, and see that nothing is left to do."""
        told = await self.try_apply(*allowed, hook=hook)
        assert (await self.to_do()) == []
        return told

    async def try_apply(self, *allowed: str, hook: Callable[[str], None] = lambda line: None) -> Told:
        told = Told(hook)

        async def do(provider: Provider) -> None:
            await apply(provider, await plan_apply(provider), told, allowed)

        await self._with(do)
        return told

    async def destroy(self) -> None:
        async def do(provider: Provider) -> None:
            await apply(provider, await plan_destroy(provider))

        await self._with(do)

    async def to_do(self) -> list[tuple[Action, str]]:
        plan = await self.plan()
        assert not plan.problems, plan.problems
        return [(step.change.action, step.change.resource.name) for step in plan.steps]

    async def endpoints(self) -> list[str]:
        async def do(provider: Provider) -> list[str]:
            return [f"{one.name} {one.host}:{one.port}" for one in await provider.endpoints()]

        named: list[str] = await self._with(do)
        return named

    async def refusal(self) -> ProvisionError:
        """What the look raises."""
        try:
            await self.plan()
        except ProvisionError as error:
            return error
        raise AssertionError("the plan was made")

    async def _with(self, do: Callable[[Provider], Any]) -> Any:
        provider = open_provider(self.declaration, {})
        try:
            return await do(provider)
        finally:
            await provider.close()


def start_primary(hosts: TestHosts, settings: Mapping[str, str]) -> None:
    """PostgreSQL 18 of the wheel on host `one`, started by pg_ctl."""
    one, bin_directory = hosts["one"], hosts.wheel.directory
    one.run(
        bin_directory / "initdb", "-D", PRIMARY, "-N", "--auth-local=peer", "--auth-host=scram-sha-256",
        "--no-locale", "--encoding=UTF8", user=USER,
    )  # fmt: skip
    lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    one.run("tee", "-a", f"{PRIMARY}/postgresql.conf", user=USER, stdin=lines)
    guest = "local all guest trust\n" + one.run("cat", f"{PRIMARY}/pg_hba.conf", user=USER) + "\n"
    one.run("tee", f"{PRIMARY}/pg_hba.conf", user=USER, stdin=guest)
    one.run("cp", "-p", f"{PRIMARY}/pg_hba.conf", f"{PRIMARY}/pg_hba.conf.kept")
    pg_ctl(hosts, one, PRIMARY, "start")
    one.psql(PORT, "create role guest login; create table room (number int); insert into room values (7)")


def pg_ctl(hosts: TestHosts, host: TestHost, data: str, action: str) -> None:
    host.sh(
        '"$1" -D "$2" -w $( [ "$3" = start ] || echo -m fast) -l "$2.log" "$3" >/dev/null 2>&1 </dev/null',
        hosts.wheel.directory / "pg_ctl", data, action, user=USER,
    )  # fmt: skip


def clean(hosts: TestHosts) -> None:
    """As if nothing had been provisioned, whatever a test left: without the provider, which may be what is broken."""
    one = hosts["one"]
    for host in hosts.hosts.values():
        if host is not one:
            host.kill_servers()
            host.sh('rm -rf "$1"/* "$1"/.pgfleet', HOME)
    one.psql(PORT, CLEAN)
    one.sh('cp -p "$1.kept" "$1"', f"{PRIMARY}/pg_hba.conf")
    one.psql(PORT, "select pg_reload_conf()")


CLEAN = """
select pg_terminate_backend(pid) from pg_stat_replication;
select pg_drop_replication_slot(slot_name) from pg_replication_slots
where not active or pg_terminate_backend(active_pid, 5000);
alter system reset max_connections;
alter system set max_slot_wal_keep_size = '1GB';
select format('drop role %I', rolname) from pg_roles where rolreplication and not rolsuper \\gexec
"""
