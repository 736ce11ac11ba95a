"""One change at one instance: the request, its operation, and the wait until Cloud SQL has done it.

Everything here may have been begun by an apply that was ended, so each asks what there is before it gives up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pgfleet.clouds.cloudsql import DELETING, READY, Instance
from pgfleet.clouds.failure import ApiFailure
from pgfleet.clouds.google import SqlAdmin
from pgfleet.clouds.google_failures import (
    BUSY,
    LOOK,
    NOT_THERE,
    NOT_THERE_REASONS,
    THERE_ALREADY,
    failure_of,
)
from pgfleet.errors import ProvisionError
from pgfleet.provision.asking import asked, failed
from pgfleet.provision.cloudsql.settings import MARK
from pgfleet.provision.cloudsql.sight import trouble
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Tell

AGAIN = "Apply again: it goes on where this one stopped."
DONE = "DONE"


class Work:
    """At one instance; `source` is the primary, who takes one replica at a time: who holds `turn` asks for his."""

    def __init__(
        self,
        api: SqlAdmin,
        name: str,
        fleet: str,
        source: Instance,
        turn: asyncio.Lock,
        pace: Pace,
        tell: Tell,
    ) -> None:
        self._api = api
        self._name = name
        self._fleet = fleet
        self._source = source
        self._turn = turn
        self._pace = pace
        self._tell = tell
        self._told = ""

    async def create(self, body: Mapping[str, Any]) -> None:
        """Ask for the replica and wait until it serves."""
        try:
            async with self._turn:
                operation = await self._begin("POST", "instances", body)
        except ApiFailure as failure:
            instance = await self._described() if failure.code == THERE_ALREADY else None
            if instance is None:
                raise failed(failure, self._name) from failure
            self._own(instance)  # an earlier apply was not told that it had succeeded
        else:
            await self._operation(operation)
        await self.finish()

    async def finish(self) -> None:
        """Wait until it serves."""
        await self._until(lambda instance: instance.serves)

    async def change(
        self, body_of: Callable[[Instance], Mapping[str, Any]], became: Callable[[Instance], bool]
    ) -> None:
        """Make it as it is wanted, when it is whole."""
        await self._until(lambda instance: instance.state == READY)
        instance = await self._there()
        self._own(instance)
        try:
            operation = await self._begin("PATCH", f"instances/{self._name}", body_of(instance))
        except ApiFailure as failure:
            if not became(await self._there()):  # by an attempt whose answer was lost
                raise failed(failure, self._name) from failure
        else:
            await self._operation(operation)
        await self._until(lambda instance: instance.serves and became(instance))

    async def remove(self) -> None:
        """Delete it, if it is still ours and still a replica, and wait until it is gone."""
        instance = await self._described()
        if instance is None:
            return
        if instance.state != DELETING:
            self._own(instance)
            self._removable(instance)
            await self._delete()
        async for _ in self._pace.looks():
            if await self._described() is None:
                return
            self._say("is being deleted")
        raise self._late("not gone")

    async def promote(self) -> None:
        """Make it an instance of its own, and wait until it is."""
        self._own(await self._there())
        try:
            operation = await self._begin("POST", f"instances/{self._name}/promoteReplica")
        except ApiFailure as failure:
            if (await self._there()).source:  # else an attempt whose answer was lost has done it
                raise failed(failure, self._name) from failure
        else:
            await self._operation(operation)
        await self._until(lambda i: i.state == READY and not i.source, watches=False)

    async def _delete(self) -> None:
        try:
            operation = await self._begin("DELETE", f"instances/{self._name}")
        except ApiFailure as failure:
            if failure.code not in NOT_THERE_REASONS:
                raise failed(failure, self._name) from failure
        else:
            await self._operation(operation)

    async def _begin(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Make a request as soon as no other operation keeps Cloud SQL from it. Raises ApiFailure."""
        async for _ in self._pace.looks():
            try:
                return await asyncio.to_thread(self._api.call, method, path, body)
            except ApiFailure as failure:
                if failure.code != BUSY:
                    raise
                self._say("waits for another operation")
        raise self._late("not even begun, since another operation is under way")

    async def _operation(self, operation: dict[str, Any]) -> None:
        """Wait until it is done. Raises ProvisionError when it failed."""
        async for _ in self._pace.looks():
            if operation.get("status") == DONE:
                if failure := failure_of(operation):
                    raise failed(failure, self._name)
                return
            self._say(f"{operation.get('operationType', 'operation')} {operation.get('status', '')}")
            path = f"operations/{operation['name']}"
            operation = await asked(partial(self._api.call, "GET", path), self._name)
        raise self._late(f"still in its operation {operation['name']}")

    async def _until(self, is_so: Callable[[Instance], bool], *, watches: bool = True) -> None:
        async for _ in self._pace.looks():
            instance = await self._there()
            if is_so(instance):
                return
            if watches and (wrong := trouble(instance, self._source)):
                raise ProvisionError(f"{self._name}: {wrong}", LOOK)
            self._say(instance.state)
        raise self._late(self._told)

    def _own(self, instance: Instance) -> None:
        """Raises ProvisionError unless the fleet made it, and it is a replica of the fleet's primary."""
        mark = instance.labels.get(MARK)
        if mark != self._fleet:
            said = f"its label {MARK} is {mark}" if mark else f"it has no label {MARK}"
            raise ProvisionError(
                f"{self._name} was not made by this file: {said}",
                "Give yours another name, or see to that one by hand.",
            )
        if instance.source != self._source.name:
            raise ProvisionError(
                f"{self._name} is no replica of {self._source.name} any more",
                "Take it out of the file; it is left alone.",
            )

    def _removable(self, instance: Instance) -> None:
        if instance.replicas:
            children = ", ".join(instance.replicas)
            raise ProvisionError(f"{self._name} has replicas of its own: {children}", "Remove those first.")
        if instance.settings.get("deletionProtectionEnabled"):
            raise ProvisionError(
                f"{self._name} is protected against deletion",
                f"gcloud sql instances patch {self._name} --no-deletion-protection",
            )

    async def _there(self) -> Instance:
        instance = await self._described()
        if instance is None:
            raise ProvisionError(f"{self._name} is not there any more", AGAIN)
        return instance

    async def _described(self) -> Instance | None:
        return await asked(partial(described, self._api, self._name), self._name)

    def _late(self, state: str) -> ProvisionError:
        return ProvisionError(f"{self._name}: after {self._pace.longest_s / 3600:g} h it is {state}", AGAIN)

    def _say(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._tell(text)


def described(api: SqlAdmin, name: str) -> Instance | None:
    """One instance; None: there is none of this name. Raises ApiFailure."""
    try:
        return Instance(api.call("GET", f"instances/{name}"), api.project)
    except ApiFailure as failure:
        if failure.code in (NOT_THERE, *NOT_THERE_REASONS):
            return None
        raise
