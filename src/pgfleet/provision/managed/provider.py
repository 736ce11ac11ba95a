"""A cloud as a provider. Each run reads what is there; nothing is remembered."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from pgfleet.clouds.api import ApiT
from pgfleet.core.changes import Action, Change, Existing, Resource
from pgfleet.errors import ProvisionError
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.provision.managed.asking import asked
from pgfleet.provision.managed.instance import MARK, InstanceT
from pgfleet.provision.managed.work import InstanceWork, Target
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Endpoint, Sight, Tell

KIND = "replica"
PRIMARY = "primary"


WorkT = TypeVar("WorkT", bound=InstanceWork[Any])


@dataclass(slots=True)
class Seen(Generic[InstanceT]):
    """What the last look found."""

    source: InstanceT | None = None
    instances: dict[str, InstanceT] = field(default_factory=dict)
    """By name, without the source."""


class ManagedProvider(ABC, Generic[InstanceT, ApiT, WorkT]):
    """The replicas of one instance. `open_api` opens the API of a place, where a cloud has one for each."""

    fixed: ClassVar[frozenset[str]]
    """The attributes that cannot be changed once a replica is there."""

    def __init__(self, declaration: Declaration, pace: Pace, open_api: Callable[[str], ApiT]) -> None:
        self._declaration = declaration
        self._primary = str(declaration.primary.get("instance", ""))
        self._pace = pace
        self._open_api = open_api
        self._apis: dict[str, ApiT] = {}
        self._seen: Seen[InstanceT] = Seen()
        self._turn = asyncio.Lock()

    def wanted(self) -> Sequence[Resource]:
        """One replica each."""
        return [
            Resource(KIND, replica.name, {"source": self._primary, **self._wished(replica)}, self.fixed)
            for replica in self._declaration.replicas
        ]

    async def look(self) -> Sight:
        """The instances that the fleet owns or wants. Raises ProvisionError when the cloud does not tell."""
        return await asked(self._look)

    async def carry_out(self, change: Change, tell: Tell) -> None:
        """Make one change. Raises ProvisionError."""
        work = self._work(change.resource, tell)
        if change.action is Action.REMOVE:
            await work.remove()
        elif change.action is Action.CREATE:
            await self._create(work, change.resource)
        elif change.action is Action.CHANGE:
            await self._change(work, change)
        elif change.action is Action.FINISH:
            await work.finish()

    async def promote(self, name: str, tell: Tell) -> None:
        """Make one of our replicas an instance of its own. It bears our mark and is none of ours from then on."""
        await self.look()
        instance = self._seen.instances.get(name)
        if instance is None:
            known = ", ".join(sorted(existing.resource.name for existing in self._existing()))
            raise ProvisionError(
                f"there is no replica {name} of {self._primary}",
                f"Name one that is there: {known or 'there is none'}.",
            )
        await self._work(Resource(KIND, name, self._attributes(instance)), tell).promote()

    async def endpoints(self) -> Sequence[Endpoint]:
        """The primary and the replicas at work."""
        await self.look()
        nodes = [(PRIMARY, self._seen.source)]
        nodes += [(r.name, self._seen.instances.get(r.name)) for r in self._declaration.replicas]
        return [
            Endpoint(name, *instance.endpoint)
            for name, instance in nodes
            if instance and instance.endpoint and (name == PRIMARY or instance.streams)
        ]

    async def close(self) -> None:
        """End the connections."""
        for api in self._apis.values():
            await asyncio.to_thread(api.close)

    @abstractmethod
    def _wished(self, replica: WantedReplica) -> Mapping[str, str]:
        """What is said of a replica and can be read again, beside its source."""

    @abstractmethod
    def _look(self) -> Sight:
        """Ask, and block; what is found stands in `_seen` then. Raises ApiFailure."""

    @abstractmethod
    def _work(self, resource: Resource, tell: Tell) -> WorkT:
        """The work at the instance of a replica."""

    @abstractmethod
    async def _create(self, work: WorkT, resource: Resource) -> None:
        """Make a replica. Raises ProvisionError."""

    @abstractmethod
    async def _change(self, work: WorkT, change: Change) -> None:
        """Make a replica as it is wanted. Raises ProvisionError."""

    @abstractmethod
    def _attributes(self, instance: InstanceT) -> Mapping[str, str]:
        """All of an instance that may be wished."""

    @abstractmethod
    def _trouble(self, instance: InstanceT) -> str:
        """Why an instance can be no part of the fleet. Empty: it can."""

    def _existing(self) -> Iterator[Existing]:
        """The instances that the fleet owns or wants."""
        wanted = {replica.name for replica in self._declaration.replicas}
        for instance in self._seen.instances.values():
            is_marked = instance.tags.get(MARK) == self._declaration.name
            if is_marked or instance.name in wanted:
                yield Existing(
                    Resource(KIND, instance.name, self._attributes(instance)),
                    is_ours=is_marked and instance.copies(self._source()),
                    is_ready=instance.streams,
                    trouble=self._trouble(instance),
                )

    def _target(self, name: str, tell: Tell) -> Target[InstanceT]:
        return Target(name, self._declaration.name, self._source(), self._turn, self._pace, tell)

    def _source(self) -> InstanceT:
        assert self._seen.source, "look comes first"
        return self._seen.source

    def _replica(self, name: str) -> WantedReplica:
        return next(replica for replica in self._declaration.replicas if replica.name == name)

    def _api(self, place: str = "") -> ApiT:
        """Of one place, opened when it is first needed."""
        if place not in self._apis:
            self._apis[place] = self._open_api(place)
        return self._apis[place]


def change_title(change: Change) -> str:
    """`change replica-1: class db.r5.large -> db.r5.xlarge`."""
    what = ", ".join(f"{d.attribute} {d.is_now or 'unset'} -> {d.wanted}" for d in change.differences)
    return f"change {change.resource.name}: {what}"
