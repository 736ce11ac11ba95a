"""A platform of values: what is there outlives the provider, and each step is done in several pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pgfleet.core.changes import Action, Change, Existing, Key, Resource
from pgfleet.errors import ProvisionError
from pgfleet.provision.provider import Endpoint, Sight, Step, Tell

PIECES = 3
"""So many pieces has each step."""


class Killed(BaseException):
    """The process ended here."""


@dataclass
class World:
    """The platform."""

    there: dict[Key, Existing] = field(default_factory=dict)
    pieces_left: int = 1_000_000
    """Then the process is killed."""
    pieces_done: int = 0

    def piece(self) -> None:
        if self.pieces_left == 0:
            raise Killed
        self.pieces_left -= 1
        self.pieces_done += 1


def slot(name: str) -> Resource:
    return Resource("slot", name)


def replica(name: str, **attributes: str) -> Resource:
    return Resource("replica", name, attributes)


def fleet(*names: str, size: str = "small") -> list[Resource]:
    """For each replica a slot, and then itself."""
    return [*(slot(name) for name in names), *(replica(name, size=size) for name in names)]


class FakeProvider:
    """Wants these resources. A replica needs its slot, and a slot goes after its replica."""

    def __init__(
        self,
        world: World,
        wanted: Sequence[Resource] = (),
        pauses: Iterator[int] | None = None,
        broken: Iterable[Key] = (),
        needs: Callable[[Change], frozenset[Key]] | None = None,
        problems: tuple[str, ...] = (),
    ) -> None:
        self.world = world
        self.broken = set(broken)
        self.log: list[str] = []
        self.closed = False
        self._wanted = wanted
        self._pauses = pauses
        self._needs = needs or usual_needs
        self._problems = problems

    def wanted(self) -> Sequence[Resource]:
        return self._wanted

    async def look(self) -> Sight:
        return Sight(tuple(self.world.there.values()), self._problems)

    def step(self, change: Change) -> Step:
        resource = change.resource
        return Step(
            change,
            f"{change.action} {resource.kind} {resource.name}",
            (f"do {change.action} {resource.name}",),
            estimate_s=10.0 if resource.kind == "replica" else 1.0,
            needs=self._needs(change),
            consent="restart" if resource.kind == "setting" else "",
        )

    async def carry_out(self, change: Change, tell: Tell) -> None:
        key = change.resource.key
        self.log.append(f"began {'/'.join(key)}")
        for piece in range(PIECES):
            for _ in range(next(self._pauses) if self._pauses else 1):
                await asyncio.sleep(0)
            self.world.piece()
            if piece == 1 and key in self.broken:
                raise ProvisionError("it broke, password=tr0ub4dor", f"mend {change.resource.name}")
            self._do(change, is_last=piece == PIECES - 1)
            tell(f"{piece + 1} of {PIECES}, password=tr0ub4dor")
        self.log.append(f"ended {'/'.join(key)}")

    def _do(self, change: Change, *, is_last: bool) -> None:
        """The first piece leaves it half done, the last one whole."""
        there, key = self.world.there, change.resource.key
        if change.action is Action.REMOVE:
            if is_last:
                there.pop(key, None)
            elif key in there:
                there[key] = replace(there[key], is_ready=False)
        else:
            there[key] = Existing(change.resource, is_ready=is_last)

    async def endpoints(self) -> Sequence[Endpoint]:
        return ()

    async def close(self) -> None:
        self.closed = True


def usual_needs(change: Change) -> frozenset[Key]:
    kind, name = change.resource.key
    if change.action is Action.REMOVE:
        return frozenset({("replica", name)}) if kind == "slot" else frozenset()
    return frozenset({("slot", name)}) if kind == "replica" else frozenset()
