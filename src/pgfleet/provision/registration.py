"""The fleet file as a part of the fleet: a replica that is ready is written into it, one that goes is taken out first.

So the processes that follow the file take a replica in when it streams, and drain it before its server ends.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pgfleet.core.changes import Action, Change, Existing, Key, Resource
from pgfleet.errors import ConfigurationError, PgfleetError, ProvisionError
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.provision.dsns import at
from pgfleet.provision.provider import Endpoint, Provider, Sight, Step, Tell
from pgfleet.settings import Dsn, NodeSettings
from pgfleet.settings.fleet_file import read_fleet_file
from pgfleet.settings.variables import FLEET_FILE

KIND = "registration"
ESTIMATE_S = 0.1
DRAIN_S = 5.0

Drained = Callable[[str, Dsn, Tell], Awaitable[None]]
"""Returns when nobody reads of the replica any more: its name, its connection string, and whom to tell."""


def fleet_file(declaration: Declaration, environ: Mapping[str, str]) -> str:
    """Where the replicas are written; empty: nowhere. Behind a link it is the file itself."""
    path = declaration.register or environ.get(FLEET_FILE, "").strip()
    return os.path.realpath(path) if path else ""


class Registered:
    """A provider, and the registrations of its replicas in a fleet file."""

    def __init__(
        self,
        provider: Provider,
        declaration: Declaration,
        environ: Mapping[str, str],
        dsn: Callable[[], Dsn],
        drained: Drained,
    ) -> None:
        self._provider = provider
        self._replicas = {replica.name: replica for replica in declaration.replicas}
        self._path = Path(fleet_file(declaration, environ))
        self._environ = environ
        self._dsn = dsn
        self._drained = drained

    def wanted(self) -> Sequence[Resource]:
        """All that the platform makes, and then the registrations."""
        return [*self._provider.wanted(), *map(_registration, self._replicas.values())]

    async def look(self) -> Sight:
        """The platform, and the file."""
        sight = await self._provider.look()
        nodes, problems = self._read()
        problems += self._without_dsn()
        places = {place.name: place for place in await self._endpoints(sight)}
        ours = {
            found.resource.name
            for found in sight.existing
            if found.resource.kind == "replica" and found.is_ours
        }
        registered = [
            self._existing(node, places.get(node.name))
            for node in nodes
            if node.name in ours | self._replicas.keys()
        ]
        return Sight((*sight.existing, *registered), (*sight.problems, *problems))

    def step(self, change: Change) -> Step:
        """A registration follows its replica, and goes before it."""
        key: Key = ("replica", change.resource.name)
        if change.resource.kind == KIND:
            return self._step(change, frozenset() if change.action is Action.REMOVE else frozenset({key}))
        step = self._provider.step(change)
        if change.action is Action.REMOVE and change.resource.kind == "replica":
            return replace(step, needs=step.needs | {(KIND, change.resource.name)})
        return step

    async def carry_out(self, change: Change, tell: Tell) -> None:
        """One edit of the file, for a registration."""
        if change.resource.kind != KIND:
            await self._provider.carry_out(change, tell)
        elif change.action is Action.REMOVE:
            await self._leave(change.resource.name, tell)
        else:
            await self._join(self._replicas[change.resource.name])

    async def endpoints(self) -> Sequence[Endpoint]:
        """The platform's."""
        return await self._provider.endpoints()

    async def close(self) -> None:
        """The platform's connections."""
        await self._provider.close()

    def _read(self) -> tuple[tuple[NodeSettings, ...], tuple[str, ...]]:
        if not self._path.parent.is_dir():
            return (), (f"{self._path}: its directory is not there; make it, or name another file",)
        if not self._path.exists() or not self._path.stat().st_size:
            return (), ()
        nodes, problems = read_fleet_file(str(self._path))
        return nodes, tuple(line.replace(FLEET_FILE, str(self._path), 1) for line in problems)

    def _without_dsn(self) -> tuple[str, ...]:
        """A provider that makes the application's role itself may not have done so yet."""
        try:
            self._dsn()
        except ConfigurationError as error:
            return tuple(f"{line}; {error.hint}" for line in error.problems)
        except PgfleetError:
            pass
        return ()

    async def _endpoints(self, sight: Sight) -> Sequence[Endpoint]:
        """None while there is nothing that could have one."""
        return await self._provider.endpoints() if any(found.is_ready for found in sight.existing) else ()

    def _existing(self, node: NodeSettings, endpoint: Endpoint | None) -> Existing:
        attributes = {"weight": str(node.weight), "zone": node.zone or ""}
        return Existing(Resource(KIND, node.name, attributes), is_ready=self._leads_to(node, endpoint))

    def _leads_to(self, node: NodeSettings, endpoint: Endpoint | None) -> bool:
        """Without a connection string nobody can tell, and there is a problem already."""
        try:
            return endpoint is not None and node.dsn.reveal() == at(self._dsn(), endpoint).reveal()
        except PgfleetError:
            return False

    def _step(self, change: Change, needs: frozenset[Key]) -> Step:
        name = change.resource.name
        if change.action is Action.REMOVE:
            title = f"take {name} out of {self._path.name}, and let its readers leave"
            return Step(
                change,
                title,
                (f"pgfleet replica remove {name} --file {shlex.quote(str(self._path))}",),
                DRAIN_S,
            )
        return Step(change, f"write {name} into {self._path.name}", self._commands(change), ESTIMATE_S, needs)

    def _commands(self, change: Change) -> tuple[str, ...]:
        """The connection string comes on standard input: a command line is seen by everybody."""
        replica, file = self._replicas[change.resource.name], f"--file {shlex.quote(str(self._path))}"
        zone = f" --zone {shlex.quote(replica.zone)}" if replica.zone else ""
        add = f"pgfleet replica add {replica.name} - --weight {replica.weight}{zone} {file}"
        again = change.action is not Action.CREATE
        return (f"pgfleet replica remove {replica.name} {file}", add) if again else (add,)

    async def _join(self, replica: WantedReplica) -> None:
        places = {endpoint.name: endpoint for endpoint in await self._provider.endpoints()}
        if replica.name not in places:
            raise ProvisionError(f"{replica.name} is not ready", "Look at it, and apply again")
        from pgfleet.settings.fleet_document import editing

        values: dict[str, Any] = {
            "dsn": at(self._dsn(), places[replica.name]).reveal(),
            "weight": replica.weight,
        }
        values |= {"zone": replica.zone} if replica.zone else {}
        with editing(self._path, self._environ) as document:
            if replica.name in document.names():
                document.change(replica.name, values)
            else:
                names = list(self._replicas)
                later = names[names.index(replica.name) + 1 :]
                document.add({"name": replica.name, **values}, before=later)

    async def _leave(self, name: str, tell: Tell) -> None:
        from pgfleet.settings.fleet_document import editing

        node = next((node for node in self._read()[0] if node.name == name), None)
        if node is None:
            return
        with editing(self._path, self._environ) as document:
            document.remove(name)
        tell("waiting for its readers")
        try:
            await self._drained(name, node.dsn, tell)
        except PgfleetError as error:
            tell(f"nobody can tell whether it is still read: {error.message}")


def _registration(replica: WantedReplica) -> Resource:
    attributes = {"weight": str(replica.weight)} | ({"zone": replica.zone} if replica.zone else {})
    return Resource(KIND, replica.name, attributes)
