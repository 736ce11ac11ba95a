"""The embedded fleet as a platform: a primary and its replicas on this machine, from nothing in a second or two."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pgfleet.core.changes import Action, Change, Existing, Resource
from pgfleet.core.node import Role
from pgfleet.errors import ConfigurationError, LocalFleetError, ProvisionError
from pgfleet.local import LocalFleet, LocalStatus, ServerState
from pgfleet.local.account import Account
from pgfleet.local.binaries import find_binaries
from pgfleet.local.configuration import check_settings
from pgfleet.local.layout import Layout, state_root
from pgfleet.provision.declaration import Declaration, Keys
from pgfleet.provision.provider import Endpoint, Provider, Sight, Step, Tell
from pgfleet.settings import Dsn

KEYS = Keys(provider=frozenset({"directory", "pg_bin", "settings"}))

PRIMARY = Resource("primary", "primary")
ESTIMATES_S = {"primary": 1.5, "replica": 1.0}
REMOVAL_S = 0.5
STRAYED = (
    "was promoted, and another is the primary; `pgfleet local rejoin {name}` makes it a standby again, without what it"
    " alone has"
)


def open_provider(declaration: Declaration, environ: Mapping[str, str]) -> Provider:
    """For a fleet in `[provider] directory`; without one, in the directory of `pgfleet local`."""
    if problems := tuple(_wrong_values(declaration)):
        raise ConfigurationError(problems, "Nothing was done.")
    return LocalProvider(declaration)


def _wrong_values(declaration: Declaration) -> Iterator[str]:
    for key in ("directory", "pg_bin"):
        if not isinstance(declaration.options.get(key, ""), str):
            yield f'[provider] {key}: is not a text; write {key} = "path"'
    settings = declaration.options.get("settings", {})
    if not isinstance(settings, dict) or not all(isinstance(v, str | int | float) for v in settings.values()):
        yield '[provider] settings: is no table of values; write settings = { work_mem = "8MB" }'
        return
    try:
        check_settings(settings)
    except LocalFleetError as error:
        yield f"[provider] settings: {error.message}; {error.hint}"


class LocalProvider:
    """One fleet of this machine. Its replicas bear the declaration's name in a file beside their data."""

    def __init__(self, declaration: Declaration) -> None:
        options = declaration.options
        self._declaration = declaration
        self._directory = self._path(options.get("directory"))
        self._pg_bin = self._path(options.get("pg_bin"))
        self._settings = options.get("settings", {})

    def wanted(self) -> Sequence[Resource]:
        """The primary, and then the replicas."""
        return [PRIMARY, *(Resource("replica", replica.name) for replica in self._declaration.replicas)]

    async def look(self) -> Sight:
        """What is in the directory."""
        return await asyncio.to_thread(self._look)

    def step(self, change: Change) -> Step:
        """How it is done."""
        kind, name = change.resource.key
        if change.action is Action.REMOVE:
            return Step(change, f"remove {name}", (self._command("remove", name),), REMOVAL_S)
        if kind == PRIMARY.kind:
            title = f"{change.action} the primary in {self._layout().directory}"
            return Step(change, title, (self._command("up", "--replicas", "0"),), ESTIMATES_S[kind])
        command = "add" if change.action is Action.CREATE else "rejoin"
        needs = frozenset({PRIMARY.key})
        title = f"{change.action} {name} (a standby of the primary)"
        return Step(change, title, (self._command(command, name),), ESTIMATES_S[kind], needs)

    async def carry_out(self, change: Change, tell: Tell) -> None:
        """In a thread: PostgreSQL's programs are waited for."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._carry_out, change, lambda line: _in(loop, tell, line))

    async def endpoints(self) -> Sequence[Endpoint]:
        """All on the loopback interface."""
        return await asyncio.to_thread(self._endpoints)

    async def close(self) -> None:
        """There is nothing to close."""

    def dsn(self) -> Dsn:
        """How an application reaches the primary: as the role without privileges that owns the database.

        Raises ProvisionError while there is no fleet.
        """
        try:
            fleet = LocalFleet.attach(self._directory)
        except LocalFleetError as error:
            raise ProvisionError(error.message, "`pgfleet provision apply` makes it") from error
        return Dsn.parse(fleet.dsn(fleet.primary, plain=True))

    def _look(self) -> Sight:
        try:
            fleet = LocalFleet.attach(self._directory)
        except LocalFleetError:
            return Sight((), tuple(self._obstacles()))
        statuses = {status.name: status for status in fleet.status()}
        primary = statuses.pop(fleet.primary)
        return Sight(
            (
                Existing(PRIMARY, is_ours=False, is_ready=primary.state is ServerState.RUNNING),
                *(
                    self._standby(fleet, primary, status)
                    for status in statuses.values()
                    if status.name != "primary"
                ),
                *(self._remnant(fleet, name) for name in fleet.remnants),
            ),
            () if primary.name == "primary" else tuple(self._promoted(primary.name)),
        )

    def _obstacles(self) -> Iterator[str]:
        """Why no fleet can be built."""
        try:
            account = Account.choose()
            self._layout().check_free()
            find_binaries(self._pg_bin, account, state_root(account))
        except LocalFleetError as error:
            yield f"{error.message}; {error.hint}"

    def _promoted(self, name: str) -> Iterator[str]:
        if name in {replica.name for replica in self._declaration.replicas}:
            yield f"replica {name}: is the primary by now; take it out of the file, or promote another node"

    def _standby(self, fleet: LocalFleet, primary: LocalStatus, status: LocalStatus) -> Existing:
        return Existing(
            Resource("replica", status.name),
            is_ours=fleet.owner(status.name) == self._declaration.name,
            is_ready=status.is_streaming and status.upstream == primary.name,
            trouble=STRAYED.format(name=status.name) if status.role is Role.PRIMARY else "",
        )

    def _remnant(self, fleet: LocalFleet, name: str) -> Existing:
        """Without an owner it was killed before it had one: nobody else misses it."""
        is_ours = fleet.owner(name) in ("", self._declaration.name)
        return Existing(Resource("replica", name), is_ours, is_ready=False)

    def _carry_out(self, change: Change, tell: Tell) -> None:
        if change.resource.kind == PRIMARY.kind:
            self._start_primary(tell)
        elif change.action is Action.REMOVE:
            LocalFleet.attach(self._directory).remove_replica(change.resource.name, tell)
        else:
            self._have_replica(LocalFleet.attach(self._directory), change.resource.name, tell)

    def _start_primary(self, tell: Tell) -> None:
        tell("starting PostgreSQL")
        try:
            fleet = LocalFleet.attach(self._directory)
        except LocalFleetError:
            LocalFleet.up(self._directory, 0, self._pg_bin, self._settings)
        else:
            _start(fleet, fleet.primary)

    def _have_replica(self, fleet: LocalFleet, name: str, tell: Tell) -> None:
        if name not in fleet.names:
            fleet.add_replica(name, tell, self._declaration.name)
        else:
            tell("making it follow the primary")
            fleet.resume_replica(name)

    def _endpoints(self) -> list[Endpoint]:
        try:
            fleet = LocalFleet.attach(self._directory)
        except LocalFleetError:
            return []
        ready = {found.resource.name for found in self._look().existing if found.is_ready}
        names = [replica.name for replica in self._declaration.replicas if replica.name in ready]
        return [
            Endpoint(as_name, "127.0.0.1", fleet.node(name).port)
            for as_name, name in (("primary", fleet.primary), *zip(names, names, strict=True))
        ]

    def _layout(self) -> Layout:
        return Layout.at(self._directory, Account.choose())

    def _path(self, given: str | None) -> Path | None:
        return Path(self._declaration.directory, os.path.expanduser(given)) if given else None

    def _command(self, *words: str) -> str:
        return shlex.join(["pgfleet", "local", *words, "--directory", str(self._layout().directory)])


def _start(fleet: LocalFleet, name: str) -> None:
    if next(status.state for status in fleet.status() if status.name == name) is ServerState.FROZEN:
        fleet.thaw(name)
    fleet.start(name)


def _in(loop: asyncio.AbstractEventLoop, tell: Tell, line: str) -> None:
    """In the loop, and no further before it is told."""
    asyncio.run_coroutine_threadsafe(_tell(tell, line), loop).result()


async def _tell(tell: Tell, line: str) -> None:
    tell(line)
