"""One change at one instance of RDS: the call, and the wait until AWS has done it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pgfleet.clouds.aws import Rds
from pgfleet.clouds.aws_failures import NOT_THERE, THERE_ALREADY, WRONG_STATE
from pgfleet.clouds.failure import ApiFailure
from pgfleet.clouds.rds import BROKEN, READY, Instance
from pgfleet.core.changes import Difference
from pgfleet.errors import ProvisionError
from pgfleet.provision.declaration import WantedReplica
from pgfleet.provision.managed.asking import asked, failed
from pgfleet.provision.managed.work import InstanceWork, Target
from pgfleet.provision.rds import calls
from pgfleet.provision.rds.sight import attributes, trouble

PATIENCE = 3
"""So often a refusal may be one of a moment ago, when the instance was not yet at rest."""
PENDING_REBOOT = "pending-reboot"


class Work(InstanceWork[Instance]):
    """At one instance. `source_api` is that of the primary's region."""

    mark_kind = "tag"

    def __init__(self, target: Target[Instance], api: Rds, source_api: Rds) -> None:
        super().__init__(target)
        self._api = api
        self._source_api = source_api

    async def create(self, call: calls.Call) -> None:
        """Ask for the replica and wait until it streams."""
        try:
            async with self._turn:
                await self._begin(call, self._primary)
        except ApiFailure as failure:
            if failure.code != THERE_ALREADY:
                raise failed(failure, self._name) from failure
            self._own(await self._there())  # an earlier apply was not told that it had succeeded
        await self.finish()

    async def change(self, replica: WantedReplica, differences: Sequence[Difference]) -> None:
        """Make it as it is wanted, when it is whole."""
        instance = await self._available()
        for call in calls.alteration(replica, instance, differences):
            await self._ask(call)
        await self._until(lambda instance: instance.is_available and self._became(instance, differences))
        self._tell_of_reboot(await self._there())

    async def _delete(self) -> None:
        await self._ask(calls.removal(self._name, self._api.region), NOT_THERE)

    async def _detach(self) -> None:
        await self._begin(calls.promotion(self._name, self._api.region), self._look)

    async def _begin(self, call: calls.Call, busy: Callable[[], Instance | None]) -> None:
        """Make a call as soon as the instance that keeps AWS from it is at rest. Raises ApiFailure."""
        refused_at_rest = 0
        async for _ in self._pace.looks():
            try:
                await asyncio.to_thread(self._call, call)
            except ApiFailure as failure:
                if failure.code != WRONG_STATE:
                    raise
                other = await asked(busy, self._name)
                is_at_rest = other is None or other.status in (READY, *BROKEN)
                refused_at_rest = refused_at_rest + 1 if is_at_rest else 0
                if refused_at_rest == PATIENCE:
                    raise
                self._say(f"waits for {other.name}, which is {other.status}" if other else "waits")
            else:
                return
        raise self._late("not even begun")

    async def _ask(self, call: calls.Call, beside: str = "") -> None:
        """Make a call about this instance when it is at rest. A failure of the code `beside` is as good as done."""
        try:
            await self._begin(call, self._look)
        except ApiFailure as failure:
            if failure.code != beside:
                raise failed(failure, self._name) from failure

    def _became(self, instance: Instance, differences: Sequence[Difference]) -> bool:
        """Also when AWS says `available` because it has not begun yet."""
        now = attributes(instance, self._source)
        return all(now.get(d.attribute, "") == d.wanted for d in differences)

    def _removable(self, instance: Instance) -> None:
        if instance.replicas:
            children = ", ".join(instance.replicas)
            raise ProvisionError(
                f"{self._name} has replicas of its own, which its end would make primaries: {children}",
                "Remove those first.",
            )

    def _tell_of_reboot(self, instance: Instance) -> None:
        groups: list[dict[str, Any]] = instance.facts.get("DBParameterGroups") or []
        if any(group.get("ParameterApplyStatus") == PENDING_REBOOT for group in groups):
            restart = calls.restart(self._name, self._api.region)
            self._say(f"its parameters hold after a restart: {restart}")

    def _look(self) -> Instance | None:
        return described(self._api, self._name)

    def _primary(self) -> Instance | None:
        return described(self._source_api, self._source.name)

    def _call(self, call: calls.Call) -> None:
        self._api.call(call.operation, **call.parameters)

    def _trouble(self, instance: Instance) -> str:
        return trouble(instance, self._source)

    def _progress(self, instance: Instance) -> str:
        percent = instance.facts.get("PercentProgress")
        if instance.is_available:
            return f"{READY}, replication {instance.replication[0] or 'not begun'}"
        return f"{instance.status} ({percent} %)" if percent else instance.status

    def _removal_progress(self, instance: Instance) -> str:
        return instance.status


def described(api: Rds, name: str) -> Instance | None:
    """One instance; None: there is none of this name. Raises ApiFailure."""
    try:
        answer = api.call("DescribeDBInstances", DBInstanceIdentifier=name)
    except ApiFailure as failure:
        if failure.code == NOT_THERE:
            return None
        raise
    return Instance(answer["DBInstances"][0], api.region)
