"""Google Cloud SQL as a provider. Each run reads what is there; nothing is remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pgfleet.clouds.cloudsql import Instance
from pgfleet.clouds.failure import ApiFailure
from pgfleet.clouds.google import SqlAdmin
from pgfleet.core.changes import Action, Change, Resource
from pgfleet.provision.cloudsql import checks, commands, settings
from pgfleet.provision.cloudsql.sight import trouble
from pgfleet.provision.cloudsql.work import Work
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.provision.managed.provider import ManagedProvider, Seen, change_title
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Sight, Step, Tell

CREATE_S = 600.0
CHANGE_S = 180.0
REMOVE_S = 120.0


class CloudSqlProvider(ManagedProvider[Instance, SqlAdmin, Work]):
    """The read replicas of one instance. `open_api` opens the API of the project."""

    fixed = settings.FIXED

    def __init__(
        self,
        declaration: Declaration,
        environ: Mapping[str, str],
        pace: Pace | None = None,
        open_api: Callable[[], SqlAdmin] | None = None,
    ) -> None:
        self._project = str(declaration.options.get("project", ""))
        endpoint = str(declaration.options.get("endpoint", ""))
        opens = open_api or partial(SqlAdmin, self._project, environ, endpoint=endpoint)
        super().__init__(declaration, pace or Pace(), lambda _: opens())

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

    def _wished(self, replica: WantedReplica) -> dict[str, str]:
        return settings.compared(replica, self._region_of(replica))

    def _attributes(self, instance: Instance) -> dict[str, str]:
        return settings.told(instance)

    def _trouble(self, instance: Instance) -> str:
        return trouble(instance, self._source())

    def _work(self, resource: Resource, tell: Tell) -> Work:
        return Work(self._target(resource.name, tell), self._api())

    async def _create(self, work: Work, resource: Resource) -> None:
        await work.create(self._body(resource.name))

    async def _change(self, work: Work, change: Change) -> None:
        replica = self._replica(change.resource.name)
        wanted = {d.attribute: d.wanted for d in change.differences}
        await work.change(
            lambda there: settings.alteration(replica, there, wanted),
            lambda there: wanted.items() <= settings.told(there).items(),
        )

    def _look(self) -> Sight:
        api = self._api()
        replicas = self._declaration.replicas
        found = {one["name"]: Instance(one, self._project) for one in api.listed("instances")}
        source = found.pop(self._primary, None)
        if source is None:
            raise ApiFailure(
                f"there is no instance {self._primary} in the project {self._project}",
                f"Write one that `gcloud sql instances list --project={self._project}` shows.",
            )
        self._seen = Seen(source, found)
        problems = [*checks.of_the_source(source), *checks.of_the_flags(source, replicas)]
        if not problems:
            regions = {replica.name: self._region_of(replica) for replica in replicas}
            problems += checks.of_the_places(api, source, replicas, regions)
        return Sight(tuple(self._existing()), tuple(problems))

    def _creation(self, change: Change) -> Step:
        body = self._body(change.resource.name)
        place = body["settings"].get("locationPreference", {}).get("zone") or body["region"]
        title = f"create {body['name']} ({body['settings']['tier']}, {place})"
        return Step(change, title, (commands.creation(self._project, body),), CREATE_S)

    def _alteration(self, change: Change) -> Step:
        name = change.resource.name
        attributes = {difference.attribute for difference in change.differences}
        body = settings.alteration(self._replica(name), self._seen.instances[name], attributes)
        command = commands.alteration(self._project, name, body)
        return Step(change, change_title(change), (command,), CHANGE_S)

    def _body(self, name: str) -> dict[str, Any]:
        replica = self._replica(name)
        return settings.creation(self._declaration.name, replica, self._region_of(replica), self._source())

    def _region_of(self, replica: WantedReplica) -> str:
        """Empty: the primary's."""
        return str(replica.options.get("region") or self._declaration.options.get("region") or "")
