"""Amazon RDS as a provider. Each run reads what is there; nothing is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from pgfleet.clouds.aws import Rds, region_of, regions
from pgfleet.clouds.failure import ApiFailure
from pgfleet.clouds.rds import Instance, region_of_arn
from pgfleet.core.changes import Action, Change, Resource
from pgfleet.provision.asking import asked
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Endpoint, Sight, Step, Tell
from pgfleet.provision.rds import calls, checks
from pgfleet.provision.rds.settings import FIXED, MARK, compared
from pgfleet.provision.rds.sight import KIND, Seen, existing
from pgfleet.provision.rds.work import Work, described

PRIMARY = "primary"
Open = Callable[[str], Rds]
CREATE_S = 900.0
CHANGE_S = 600.0
TAG_S = 5.0
REMOVE_S = 300.0


class RdsProvider:
    """The replicas of one instance. `open_api` opens the API of a region."""

    def __init__(
        self,
        declaration: Declaration,
        environ: Mapping[str, str],
        pace: Pace | None = None,
        open_api: Open | None = None,
    ) -> None:
        options = declaration.options
        self._declaration = declaration
        self._environ = environ
        self._profile = str(options.get("profile", ""))
        self._endpoint = str(options.get("endpoint", ""))
        self._region = str(options.get("region", "")) or region_of(environ, self._profile)
        self._pace = pace or Pace()
        self._open = open_api or self._open_api
        self._apis: dict[str, Rds] = {}
        self._seen = Seen()
        self._turn = asyncio.Lock()

    def wanted(self) -> Sequence[Resource]:
        """One replica each."""
        source = str(self._declaration.primary["instance"])
        return [
            Resource(
                KIND,
                replica.name,
                {"source": source, "region": self._region_of(replica), **compared(replica)},
                FIXED,
            )
            for replica in self._declaration.replicas
        ]

    async def look(self) -> Sight:
        """The instances that the fleet owns or wants. Raises ProvisionError when AWS does not tell."""
        return await asked(self._look)

    def step(self, change: Change) -> Step:
        """How a change is made. `look` comes first."""
        name = change.resource.name
        region = change.resource.attributes.get("region", self._region)
        if change.action is Action.REMOVE:
            commands = (str(calls.removal(name, region)), calls.waiting(name, region, "deleted"))
            return Step(change, f"delete {name} ({region})", commands, REMOVE_S)
        if change.action is Action.CREATE:
            return self._creation(change, region)
        if change.action is Action.CHANGE:
            return self._alteration(change, region)
        waits = (calls.waiting(name, region),) if change.action is Action.FINISH else ()
        return Step(change, f"{change.action} {name} ({region})", waits, CREATE_S if waits else 0.0)

    async def carry_out(self, change: Change, tell: Tell) -> None:
        """Make one change. Raises ProvisionError."""
        name = change.resource.name
        region = change.resource.attributes.get("region", self._region)
        work = self._work(name, region, tell)
        if change.action is Action.REMOVE:
            await work.remove()
        elif change.action is Action.CREATE:
            await work.create(
                calls.creation(self._declaration.name, self._replica(name), region, self._source())
            )
        elif change.action is Action.CHANGE:
            await work.change(self._replica(name), change.differences)
        elif change.action is Action.FINISH:
            await work.finish()

    async def promote(self, name: str, tell: Tell) -> None:
        """Make one of our replicas an instance of its own. It bears our mark and is none of ours from then on."""
        await self.look()
        instance = self._seen.instances.get(name)
        region = instance.region if instance else self._region
        await self._work(name, region, tell).promote()

    async def endpoints(self) -> Sequence[Endpoint]:
        """The primary and the replicas at work."""
        await self.look()
        nodes = [(PRIMARY, self._seen.source)]
        found = self._seen.instances
        nodes += [(r.name, found.get(r.name)) for r in self._declaration.replicas]
        return [
            Endpoint(name, *instance.endpoint)
            for name, instance in nodes
            if instance and instance.endpoint and (name == PRIMARY or instance.streams)
        ]

    async def close(self) -> None:
        """End the connections."""
        for api in self._apis.values():
            await asyncio.to_thread(api.close)

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
        return Sight(tuple(existing(self._seen, self._declaration.name, regions)), tuple(problems))

    def _check_regions(self) -> None:
        if not self._region:
            raise ApiFailure("no AWS region is named", "Write region in [provider], or set AWS_REGION.")
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
        name = str(self._declaration.primary["instance"])
        source = described(self._api(self._source_region), name)
        if source is None:
            raise ApiFailure(
                f"there is no instance {name} in {self._source_region}",
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
        replica, source = self._replica(change.resource.name), self._source()
        place = ", ".join(filter(None, (replica.instance_class, replica.zone or region)))
        call = calls.creation(self._declaration.name, replica, region, source)
        commands = (str(call), calls.waiting(replica.name, region))
        return Step(change, f"create {replica.name} ({place})", commands, CREATE_S)

    def _alteration(self, change: Change, region: str) -> Step:
        name = change.resource.name
        made = calls.alteration(self._replica(name), self._seen.instances[name], change.differences)
        is_long = any(call.operation == "ModifyDBInstance" for call in made)
        commands = (*map(str, made), *((calls.waiting(name, region),) if is_long else ()))
        what = ", ".join(f"{d.attribute} {d.is_now or 'unset'} -> {d.wanted}" for d in change.differences)
        return Step(change, f"change {name}: {what}", commands, CHANGE_S if is_long else TAG_S)

    def _work(self, name: str, region: str, tell: Tell) -> Work:
        source = self._source()
        api, source_api = self._api(region), self._api(source.region)
        return Work(api, name, self._declaration.name, source, source_api, self._turn, self._pace, tell)

    def _source(self) -> Instance:
        assert self._seen.source, "look comes first"
        return self._seen.source

    def _replica(self, name: str) -> WantedReplica:
        return next(replica for replica in self._declaration.replicas if replica.name == name)

    def _region_of(self, replica: WantedReplica) -> str:
        return str(replica.options.get("region") or self._region)

    def _api(self, region: str) -> Rds:
        if region not in self._apis:
            self._apis[region] = self._open(region)
        return self._apis[region]

    def _open_api(self, region: str) -> Rds:
        return Rds(region, self._environ, profile=self._profile, endpoint=self._endpoint)
