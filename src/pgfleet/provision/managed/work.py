"""One change at one instance, and the wait until its cloud has done it.

Everything here may have been begun by an apply that was ended, so each asks what there is before it gives up.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic

from pgfleet.clouds.failure import LOOK, ApiFailure
from pgfleet.errors import ProvisionError
from pgfleet.provision.managed.asking import asked, failed
from pgfleet.provision.managed.instance import MARK, InstanceT
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Tell

AGAIN = "Give the same command again: it goes on where this one stopped."


@dataclass(frozen=True, slots=True)
class Target(Generic[InstanceT]):
    """The instance that is worked at."""

    name: str
    fleet: str
    source: InstanceT
    """The primary."""
    turn: asyncio.Lock
    """Who holds it asks for a replica: each makes the primary busy for a while, and the cloud refuses the next."""
    pace: Pace
    tell: Tell


class InstanceWork(ABC, Generic[InstanceT]):
    """At one instance."""

    mark_kind: ClassVar[str]
    """What the cloud calls a mark: a tag, a label."""

    def __init__(self, target: Target[InstanceT]) -> None:
        self._name = target.name
        self._fleet = target.fleet
        self._source = target.source
        self._turn = target.turn
        self._pace = target.pace
        self._tell = target.tell
        self._told = ""

    async def finish(self) -> None:
        """Wait until it streams."""
        await self._until(lambda instance: instance.streams)

    async def remove(self) -> None:
        """Delete it, if it is still ours and still a replica, and wait until it is gone."""
        instance = await self._described()
        if instance is None:
            return
        if not instance.is_deleting:
            self._own(instance)
            self._removable(instance)
            await self._delete()
        await self._gone()

    async def promote(self) -> None:
        """Make it an instance of its own, and wait until it is."""
        self._own(await self._there())
        try:
            await self._detach()
        except ApiFailure as failure:
            if (await self._there()).source:  # else an attempt whose answer was lost has done it
                raise failed(failure, self._name) from failure
        await self._until(lambda instance: instance.is_available and not instance.source, watches=False)

    @abstractmethod
    def _look(self) -> InstanceT | None:
        """Ask for it, and block. None: there is none of this name. Raises ApiFailure."""

    @abstractmethod
    async def _delete(self) -> None:
        """Have it deleted; that it is gone already is no failure. Raises ProvisionError."""

    @abstractmethod
    async def _detach(self) -> None:
        """Have it promoted. Raises ApiFailure when that is refused, ProvisionError."""

    @abstractmethod
    def _removable(self, instance: InstanceT) -> None:
        """Raises ProvisionError when its end would harm others, or its owner keeps it from that."""

    @abstractmethod
    def _trouble(self, instance: InstanceT) -> str:
        """Why it can be no part of the fleet. Empty: it can."""

    @abstractmethod
    def _progress(self, instance: InstanceT) -> str:
        """How far it is."""

    @abstractmethod
    def _removal_progress(self, instance: InstanceT) -> str:
        """How far it is while it is deleted."""

    async def _available(self) -> InstanceT:
        """It, when it is whole. Raises ProvisionError unless it is ours."""
        await self._until(lambda instance: instance.is_available)
        instance = await self._there()
        self._own(instance)
        return instance

    async def _until(self, is_so: Callable[[InstanceT], bool], *, watches: bool = True) -> None:
        async for _ in self._pace.looks():
            instance = await self._there()
            if is_so(instance):
                return
            if watches and (wrong := self._trouble(instance)):
                raise ProvisionError(f"{self._name}: {wrong}", LOOK)
            self._say(self._progress(instance))
        raise self._late(self._told)

    async def _gone(self) -> None:
        async for _ in self._pace.looks():
            instance = await self._described()
            if instance is None:
                return
            self._say(self._removal_progress(instance))
        raise self._late("not gone")

    def _own(self, instance: InstanceT) -> None:
        """Raises ProvisionError unless the fleet made it, and it is a replica of the fleet's primary."""
        mark = instance.tags.get(MARK)
        if mark != self._fleet:
            kind = self.mark_kind
            said = f"its {kind} {MARK} is {mark}" if mark else f"it has no {kind} {MARK}"
            raise ProvisionError(
                f"{self._name} was not made by this file: {said}",
                "Give yours another name, or see to that one by hand.",
            )
        if not instance.copies(self._source):
            raise ProvisionError(
                f"{self._name} is no replica of {self._source.name} any more",
                "Take it out of the file; it is left alone.",
            )

    async def _there(self) -> InstanceT:
        instance = await self._described()
        if instance is None:
            raise ProvisionError(f"{self._name} is not there any more", AGAIN)
        return instance

    async def _described(self) -> InstanceT | None:
        return await asked(self._look, self._name)

    def _late(self, state: str) -> ProvisionError:
        return ProvisionError(f"{self._name}: after {self._pace.longest_s / 3600:g} h it is {state}", AGAIN)

    def _say(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._tell(text)
