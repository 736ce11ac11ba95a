"""One change at one instance: the call, and the wait until AWS has done it.

Everything here may have been begun by an apply that was ended, so each asks what there is before it gives up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pgfleet.clouds.aws import Rds
from pgfleet.clouds.aws_failures import LOOK, NOT_THERE, THERE_ALREADY, WRONG_STATE
from pgfleet.clouds.failure import ApiFailure
from pgfleet.clouds.rds import BROKEN, DELETING, READY, Instance
from pgfleet.core.changes import Difference
from pgfleet.errors import ProvisionError
from pgfleet.provision.asking import asked, failed
from pgfleet.provision.declaration import WantedReplica
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Tell
from pgfleet.provision.rds import calls
from pgfleet.provision.rds.settings import MARK
from pgfleet.provision.rds.sight import attributes, trouble

AGAIN = "Apply again: it goes on where this one stopped."
PATIENCE = 3
"""So often a refusal may be one of a moment ago, when the instance was not yet at rest."""
PENDING_REBOOT = "pending-reboot"


class Work:
    """At one instance. `source` is the primary, `source_api` its region's.

    Who holds `turn` asks for a replica: each makes the primary busy for a while, and AWS refuses the next.
    """

    def __init__(
        self,
        api: Rds,
        name: str,
        fleet: str,
        source: Instance,
        source_api: Rds,
        turn: asyncio.Lock,
        pace: Pace,
        tell: Tell,
    ) -> None:
        self._api = api
        self._name = name
        self._fleet = fleet
        self._source = source
        self._source_api = source_api
        self._turn = turn
        self._pace = pace
        self._tell = tell
        self._told = ""

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

    async def finish(self) -> None:
        """Wait until it streams."""
        await self._until(lambda instance: instance.streams)

    async def change(self, replica: WantedReplica, differences: Sequence[Difference]) -> None:
        """Make it as it is wanted, when it is whole."""
        await self._until(lambda instance: instance.status == READY)
        instance = await self._there()
        self._own(instance)
        for call in calls.alteration(replica, instance, differences):
            await self._ask(call)
        await self._until(lambda instance: instance.status == READY and self._became(instance, differences))
        self._tell_of_reboot(await self._there())

    async def remove(self) -> None:
        """Delete it, if it is still ours and still a replica, and wait until it is gone."""
        instance = await self._described()
        if instance is None:
            return
        if instance.status != DELETING:
            self._own(instance)
            self._childless(instance)
            await self._ask(calls.removal(self._name, self._api.region), NOT_THERE)
        await self._gone()

    async def promote(self) -> None:
        """Make it an instance of its own, and wait until it is."""
        instance = await self._there()
        self._own(instance)
        try:
            await self._begin(calls.promotion(self._name, self._api.region), self._look)
        except ApiFailure as failure:
            if (await self._there()).source:  # else an attempt whose answer was lost has done it
                raise failed(failure, self._name) from failure
        await self._until(lambda i: i.status == READY and not i.source, watches=False)

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

    async def _gone(self) -> None:
        async for _ in self._pace.looks():
            instance = await self._described()
            if instance is None:
                return
            self._say(instance.status)
        raise self._late("not gone")

    async def _until(self, is_so: Callable[[Instance], bool], *, watches: bool = True) -> None:
        async for _ in self._pace.looks():
            instance = await self._there()
            if is_so(instance):
                return
            if watches and (wrong := trouble(instance, self._source)):
                raise ProvisionError(f"{self._name}: {wrong}", LOOK)
            self._say(_progress(instance))
        raise self._late(self._told)

    def _became(self, instance: Instance, differences: Sequence[Difference]) -> bool:
        """Also when AWS says `available` because it has not begun yet."""
        now = attributes(instance, self._source)
        return all(now.get(d.attribute, "") == d.wanted for d in differences)

    def _own(self, instance: Instance) -> None:
        """Raises ProvisionError unless the fleet made it, and it is a replica of the fleet's primary."""
        mark = instance.tags.get(MARK)
        if mark != self._fleet:
            said = f"its tag {MARK} is {mark}" if mark else f"it has no tag {MARK}"
            raise ProvisionError(
                f"{self._name} was not made by this file: {said}",
                "Give yours another name, or see to that one by hand.",
            )
        if not instance.copies(self._source):
            raise ProvisionError(
                f"{self._name} is no replica of {self._source.name} any more",
                "Take it out of the file; it is left alone.",
            )

    def _childless(self, instance: Instance) -> None:
        if instance.replicas:
            children = ", ".join(instance.replicas)
            raise ProvisionError(
                f"{self._name} has replicas of its own, which its end would make primaries: {children}",
                "Remove those first.",
            )

    def _tell_of_reboot(self, instance: Instance) -> None:
        groups: list[dict[str, Any]] = instance.facts.get("DBParameterGroups") or []
        if any(group.get("ParameterApplyStatus") == PENDING_REBOOT for group in groups):
            self._say(
                "its parameters hold after a restart: aws rds reboot-db-instance --region"
                f" {self._api.region} --db-instance-identifier {self._name}"
            )

    async def _there(self) -> Instance:
        instance = await self._described()
        if instance is None:
            raise ProvisionError(f"{self._name} is not there any more", AGAIN)
        return instance

    async def _described(self) -> Instance | None:
        return await asked(self._look, self._name)

    def _look(self) -> Instance | None:
        return described(self._api, self._name)

    def _primary(self) -> Instance | None:
        return described(self._source_api, self._source.name)

    def _call(self, call: calls.Call) -> None:
        self._api.call(call.operation, **call.parameters)

    def _late(self, state: str) -> ProvisionError:
        return ProvisionError(f"{self._name}: after {self._pace.longest_s / 3600:g} h it is {state}", AGAIN)

    def _say(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._tell(text)


def _progress(instance: Instance) -> str:
    percent = instance.facts.get("PercentProgress")
    if instance.status == READY:
        return f"{READY}, replication {instance.replication[0] or 'not begun'}"
    return f"{instance.status} ({percent} %)" if percent else instance.status


def described(api: Rds, name: str) -> Instance | None:
    """One instance; None: there is none of this name. Raises ApiFailure."""
    try:
        answer = api.call("DescribeDBInstances", DBInstanceIdentifier=name)
    except ApiFailure as failure:
        if failure.code == NOT_THERE:
            return None
        raise
    return Instance(answer["DBInstances"][0], api.region)
