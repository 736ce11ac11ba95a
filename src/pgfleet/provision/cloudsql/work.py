"""One change at one instance: the request, its operation, and the wait until Cloud SQL has done it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pgfleet.clouds.cloudsql import Instance
from pgfleet.clouds.failure import ApiFailure
from pgfleet.clouds.google import SqlAdmin
from pgfleet.clouds.google_failures import (
    BUSY,
    NOT_THERE,
    NOT_THERE_REASONS,
    THERE_ALREADY,
    failure_of,
)
from pgfleet.errors import ProvisionError
from pgfleet.provision.cloudsql import commands
from pgfleet.provision.cloudsql.sight import trouble
from pgfleet.provision.managed.asking import asked, failed
from pgfleet.provision.managed.work import InstanceWork, Target

DONE = "DONE"


class Work(InstanceWork[Instance]):
    """At one instance."""

    mark_kind = "label"

    def __init__(self, target: Target[Instance], api: SqlAdmin) -> None:
        super().__init__(target)
        self._api = api

    async def create(self, body: Mapping[str, Any]) -> None:
        """Ask for the replica and wait until it streams."""
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

    async def change(
        self, body_of: Callable[[Instance], Mapping[str, Any]], became: Callable[[Instance], bool]
    ) -> None:
        """Make it as it is wanted, when it is whole."""
        instance = await self._available()
        try:
            operation = await self._begin("PATCH", f"instances/{self._name}", body_of(instance))
        except ApiFailure as failure:
            if not became(await self._there()):  # by an attempt whose answer was lost
                raise failed(failure, self._name) from failure
        else:
            await self._operation(operation)
        await self._until(lambda instance: instance.streams and became(instance))

    async def _delete(self) -> None:
        try:
            operation = await self._begin("DELETE", f"instances/{self._name}")
        except ApiFailure as failure:
            if failure.code not in NOT_THERE_REASONS:
                raise failed(failure, self._name) from failure
        else:
            await self._operation(operation)

    async def _detach(self) -> None:
        await self._operation(await self._begin("POST", f"instances/{self._name}/promoteReplica"))

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

    def _removable(self, instance: Instance) -> None:
        if instance.replicas:
            children = ", ".join(instance.replicas)
            raise ProvisionError(f"{self._name} has replicas of its own: {children}", "Remove those first.")
        if instance.settings.get("deletionProtectionEnabled"):
            raise ProvisionError(
                f"{self._name} is protected against deletion",
                commands.patch(instance, "--no-deletion-protection"),
            )

    def _look(self) -> Instance | None:
        try:
            return Instance(self._api.call("GET", f"instances/{self._name}"), self._api.project)
        except ApiFailure as failure:
            if failure.code in (NOT_THERE, *NOT_THERE_REASONS):
                return None
            raise

    def _trouble(self, instance: Instance) -> str:
        return trouble(instance, self._source)

    def _progress(self, instance: Instance) -> str:
        return instance.status

    def _removal_progress(self, instance: Instance) -> str:
        return "is being deleted"
