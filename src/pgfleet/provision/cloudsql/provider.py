"""Google Cloud SQL as a provider. Each run reads what is there; nothing is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pgfleet.clouds.cloudsql import POSTGRES_PORT, Instance
from pgfleet.clouds.failure import ApiFailure
from pgfleet.clouds.google import SqlAdmin
from pgfleet.core.changes import Action, Change, Resource
from pgfleet.provision.asking import asked
from pgfleet.provision.cloudsql import checks, commands, settings
from pgfleet.provision.cloudsql.settings import FIXED, compared
from pgfleet.provision.cloudsql.sight import KIND, Seen, existing
from pgfleet.provision.cloudsql.work import Work
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Endpoint, Sight, Step, Tell

PRIMARY = "primary"
CREATE_S = 600.0
CHANGE_S = 180.0
REMOVE_S = 120.0


class CloudSqlProvider:
    """The read replicas of one instance. `open_api` opens the API of the project."""

    def __init__(
        self,
        declaration: Declaration,
        environ: Mapping[str, str],
        pace: Pace | None = None,
        open_api: Callable[[], SqlAdmin] | None = None,
    ) -> None:
        options = declaration.options
        self._declaration = declaration
        self._project = str(options.get("project", ""))
        self._primary = str(declaration.primary.get("instance", ""))
        self._pace = pace or Pace()
        endpoint = str(options.get("endpoint", ""))
        self._open = open_api or partial(SqlAdmin, self._project, environ, endpoint=endpoint)
        self._opened: SqlAdmin | None = None
        self._seen = Seen()
        self._turn = asyncio.Lock()

    def wanted(self) -> Sequence[Resource]:
        """One replica each."""
        return [
            Resource(
                KIND,
                replica.name,
                {"source": self._primary, **compared(replica, self._region_of(replica))},
                FIXED,
            )
            for replica in self._declaration.replicas
        ]

    async def look(self) -> Sight:
        """The instances that the fleet owns or wants. Raises ProvisionError when Google does not tell."""
        return await asked(self._look)

    def step(self, change: Change) -> Step:
        """How a change is made. `look` comes first."""
        name = change.resource.name
        if change.action is Action.REMOVE:
            return Step(change, f"delete {name}", (commands.removal(self._project, name),), REMOVE_S)
        if change.action is Action.CREATE:
            return self._creation(change)
        if change.action is Action.CHANGE:
            return self._alteration(change)
        if change.action is Action.FINISH:
            waits = (commands.description(self._seen.instances[name]),)
            return Step(change, f"wait for {name}", waits, CREATE_S)
        return Step(change, f"keep {name}")

    async def carry_out(self, change: Change, tell: Tell) -> None:
        """Make one change. Raises ProvisionError."""
        name = change.resource.name
        work = self._work(name, tell)
        if change.action is Action.REMOVE:
            await work.remove()
        elif change.action is Action.CREATE:
            await work.create(self._body(name))
        elif change.action is Action.CHANGE:
            replica, wanted = self._replica(name), {d.attribute: d.wanted for d in change.differences}
            await work.change(
                lambda there: settings.alteration(replica, there, wanted),
                lambda there: wanted.items() <= settings.told(there).items(),
            )
        elif change.action is Action.FINISH:
            await work.finish()

    async def promote(self, name: str, tell: Tell) -> None:
        """Make one of our replicas an instance of its own. It bears our mark and is none of ours from then on."""
        await self.look()
        await self._work(name, tell).promote()

    async def endpoints(self) -> Sequence[Endpoint]:
        """The primary and the replicas at work: their private addresses, or public ones where there are no others."""
        await self.look()
        nodes = [(PRIMARY, self._seen.source)]
        nodes += [(r.name, self._seen.instances.get(r.name)) for r in self._declaration.replicas]
        return [
            Endpoint(name, instance.address(), POSTGRES_PORT)
            for name, instance in nodes
            if instance and instance.address() and (name == PRIMARY or instance.serves)
        ]

    async def close(self) -> None:
        """End the connections."""
        if self._opened:
            await asyncio.to_thread(self._opened.close)

    def _look(self) -> Sight:
        api = self._api()
        replicas = self._declaration.replicas
        found = {one["name"]: Instance(one, self._project) for one in api.listed("instances")}
        source = found.pop(self._primary, None)
        if source is None:
            raise ApiFailure(
                f"there is no instance {self._primary} in the project {self._project}",
                "Write one that `gcloud sql instances list` shows.",
            )
        self._seen = Seen(source, found)
        problems = [*checks.of_the_source(source), *checks.of_the_flags(source, replicas)]
        if not problems:
            regions = {replica.name: self._region_of(replica) for replica in replicas}
            problems += checks.of_the_places(api, source, replicas, regions)
        wanted = {replica.name for replica in replicas}
        return Sight(tuple(existing(self._seen, self._declaration.name, wanted)), tuple(problems))

    def _creation(self, change: Change) -> Step:
        body = self._body(change.resource.name)
        place = body["settings"].get("locationPreference", {}).get("zone") or body["region"]
        title = f"create {body['name']} ({body['settings']['tier']}, {place})"
        return Step(change, title, (commands.creation(self._project, body),), CREATE_S)

    def _alteration(self, change: Change) -> Step:
        name = change.resource.name
        attributes = {difference.attribute for difference in change.differences}
        body = settings.alteration(self._replica(name), self._seen.instances[name], attributes)
        what = ", ".join(f"{d.attribute} {d.is_now or 'unset'} -> {d.wanted}" for d in change.differences)
        command = commands.alteration(self._project, name, body)
        return Step(change, f"change {name}: {what}", (command,), CHANGE_S)

    def _body(self, name: str) -> dict[str, Any]:
        replica = self._replica(name)
        return settings.creation(self._declaration.name, replica, self._region_of(replica), self._source())

    def _work(self, name: str, tell: Tell) -> Work:
        return Work(self._api(), name, self._declaration.name, self._source(), self._turn, self._pace, tell)

    def _source(self) -> Instance:
        assert self._seen.source, "look comes first"
        return self._seen.source

    def _replica(self, name: str) -> WantedReplica:
        return next(replica for replica in self._declaration.replicas if replica.name == name)

    def _region_of(self, replica: WantedReplica) -> str:
        """Empty: the primary's."""
        return str(replica.options.get("region") or self._declaration.options.get("region") or "")

    def _api(self) -> SqlAdmin:
        if self._opened is None:
            self._opened = self._open()
        return self._opened
