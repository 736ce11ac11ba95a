"""Amazon RDS as a provider. Each run reads what is there; nothing is remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pgfleet.clouds.aws import Rds, region_of, regions
from pgfleet.clouds.failure import ApiFailure
from pgfleet.clouds.rds import Instance, region_of_arn
from pgfleet.core.changes import Action, Change, Resource
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.provision.managed.instance import MARK
from pgfleet.provision.managed.provider import ManagedProvider, Seen, change_title
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Sight, Step, Tell
from pgfleet.provision.rds import calls, checks
from pgfleet.provision.rds.settings import FIXED, compared
from pgfleet.provision.rds.sight import attributes, trouble
from pgfleet.provision.rds.work import Work, described

Open = Callable[[str], Rds]
CREATE_S = 900.0
CHANGE_S = 600.0
TAG_S = 5.0
REMOVE_S = 300.0


class RdsProvider(ManagedProvider[Instance, Rds, Work]):
    """The replicas of one instance. `open_api` opens the API of a region."""

    fixed = FIXED

    def __init__(
        self,
        declaration: Declaration,
        environ: Mapping[str, str],
        pace: Pace | None = None,
        open_api: Open | None = None,
    ) -> None:
        options = declaration.options
        profile = str(options.get("profile", ""))
        self._endpoint = str(options.get("endpoint", ""))
        self._region = str(options.get("region", "")) or region_of(environ, profile)
        opens = partial(Rds, environ=environ, profile=profile, endpoint=self._endpoint)
        super().__init__(declaration, pace or Pace(), open_api or opens)

    def step(self, change: Change) -> Step:
        """How a change is made. `look` comes first."""
        name, region = change.resource.name, self._region_at(change.resource)
        if change.action is Action.REMOVE:
            commands = (str(calls.removal(name, region)), calls.waiting(name, region, "deleted"))
            return Step(change, f"delete {name} ({region})", commands, REMOVE_S)
        if change.action is Action.CREATE:
            return self._creation(change, region)
        if change.action is Action.CHANGE:
            return self._alteration(change, region)
        waits = (calls.waiting(name, region),) if change.action is Action.FINISH else ()
        return Step(change, f"{change.action} {name} ({region})", waits, CREATE_S if waits else 0.0)

    def _wished(self, replica: WantedReplica) -> dict[str, str]:
        return {"region": self._region_of(replica), **compared(replica)}

    def _attributes(self, instance: Instance) -> dict[str, str]:
        return attributes(instance, self._source())

    def _trouble(self, instance: Instance) -> str:
        return trouble(instance, self._source())

    def _work(self, resource: Resource, tell: Tell) -> Work:
        api = self._api(self._region_at(resource))
        return Work(self._target(resource.name, tell), api, self._api(self._source().region))

    async def _create(self, work: Work, resource: Resource) -> None:
        await work.create(self._call(resource))

    async def _change(self, work: Work, change: Change) -> None:
        await work.change(self._replica(change.resource.name), change.differences)

    def _look(self) -> Sight:
        self._check_regions()
        replicas = self._declaration.replicas
        source = self._find_source()
        regions = {replica.name: self._region_of(replica) for replica in replicas}
        self._seen = Seen(source, self._find_instances(source, {*regions.values()}))
        new = [replica for replica in replicas if replica.name not in self._seen.instances]
        problems = [
            *checks.of_the_source(source),
            *checks.of_the_number(source, len(new)),
            *checks.of_the_copies(source, new, regions),
        ]
        if not problems:
            apis = {region: self._api(region) for region in regions.values()}
            problems += checks.of_the_places(source, replicas, regions, apis)
        return Sight(tuple(self._existing()), tuple(problems))

    def _check_regions(self) -> None:
        if not self._region:
            self._open_api("")  # raises, for there is none, or no such profile to name it
        named = {self._region, self._source_region, *map(self._region_of, self._declaration.replicas)}
        unknown = sorted(named - regions())
        if unknown and not self._endpoint:
            raise ApiFailure(
                f"AWS has no region {', '.join(unknown)}", "Write one that `aws ec2 describe-regions` lists."
            )

    @property
    def _source_region(self) -> str:
        return str(self._declaration.primary.get("region") or self._region)

    def _find_source(self) -> Instance:
        source = described(self._api(self._source_region), self._primary)
        if source is None:
            raise ApiFailure(
                f"there is no instance {self._primary} in {self._source_region}",
                "Write the primary's identifier, and its region, in [primary].",
            )
        return source

    def _find_instances(self, source: Instance, regions: set[str]) -> dict[str, Instance]:
        """Of every region that a replica is wanted in, or that the source has one in."""
        regions |= {self._region} | {region_of_arn(name) for name in source.replicas if ":" in name}
        found = [
            Instance(facts, region)
            for region in sorted(regions)
            for facts in self._api(region).listed("DescribeDBInstances", "DBInstances")
        ]
        return self._ours_first([instance for instance in found if instance.arn != source.arn])

    def _ours_first(self, found: Sequence[Instance]) -> dict[str, Instance]:
        """Of two of one name in two regions the one where it is wanted. What is not ours elsewhere is no matter."""
        wanted = {replica.name: self._region_of(replica) for replica in self._declaration.replicas}

        def matters(instance: Instance) -> int:
            is_ours = instance.tags.get(MARK) == self._declaration.name
            return 2 if wanted.get(instance.name, instance.region) == instance.region else int(is_ours)

        return {instance.name: instance for instance in sorted(found, key=matters) if matters(instance)}

    def _creation(self, change: Change, region: str) -> Step:
        replica = self._replica(change.resource.name)
        place = ", ".join(filter(None, (replica.instance_class, replica.zone or region)))
        commands = (str(self._call(change.resource)), calls.waiting(replica.name, region))
        return Step(change, f"create {replica.name} ({place})", commands, CREATE_S)

    def _alteration(self, change: Change, region: str) -> Step:
        name = change.resource.name
        made = calls.alteration(self._replica(name), self._seen.instances[name], change.differences)
        is_long = any(call.operation == "ModifyDBInstance" for call in made)
        commands = (*map(str, made), *((calls.waiting(name, region),) if is_long else ()))
        return Step(change, change_title(change), commands, CHANGE_S if is_long else TAG_S)

    def _call(self, resource: Resource) -> calls.Call:
        """What makes a replica."""
        replica, region = self._replica(resource.name), self._region_at(resource)
        return calls.creation(self._declaration.name, replica, region, self._source())

    def _region_at(self, resource: Resource) -> str:
        return resource.attributes.get("region", self._region)

    def _region_of(self, replica: WantedReplica) -> str:
        return str(replica.options.get("region") or self._region)
