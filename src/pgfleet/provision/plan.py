"""What an apply would do: the steps, what stays, what stands against it, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pgfleet.core.changes import Action, Change, Key, Resource, changes
from pgfleet.errors import ProvisionError
from pgfleet.provision.provider import Provider, Step

PRIMARY = "primary"
"""The kind of the resource that nothing here ever removes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The way from what is there to what is wanted. Without steps there is nothing to do."""

    steps: tuple[Step, ...]
    keeps: tuple[Change, ...] = ()
    problems: tuple[str, ...] = ()
    """Why nothing of it can be done, a line each, with the next step."""

    @property
    def estimate_s(self) -> float:
        """How long it takes: the longest chain of steps that need one another."""
        return max(_ends_s(self.steps).values(), default=0.0)

    @property
    def consents(self) -> tuple[str, ...]:
        """What somebody must allow first, each once, in order."""
        return tuple(dict.fromkeys(step.consent for step in self.steps if step.consent))

    @property
    def removals(self) -> tuple[Step, ...]:
        """The steps that take something away."""
        return tuple(step for step in self.steps if step.change.action is Action.REMOVE)


async def plan_apply(provider: Provider) -> Plan:
    """Look, and compare with what is wanted. Changes nothing. Raises ProvisionError when it cannot be told."""
    sight = await provider.look()
    found = changes(provider.wanted(), sight.existing)
    problems = (*sight.problems, *found.problems)
    keeps = tuple(change for change in found.changes if change.action is Action.KEEP)
    return _plan(provider, found.to_do, keeps, problems)


async def plan_destroy(provider: Provider) -> Plan:
    """Look, and remove all that is ours. What makes the wish impossible does not keep anybody from giving it up."""
    sight = await provider.look()
    nothing: Sequence[Resource] = ()
    return _plan(provider, changes(nothing, sight.existing).to_do)


def _plan(
    provider: Provider,
    to_do: Sequence[Change],
    keeps: tuple[Change, ...] = (),
    problems: tuple[str, ...] = (),
) -> Plan:
    """A plan with a problem has no steps that could be asked for in earnest, but shows what it would do."""
    refused = tuple(_never(to_do))
    plan = Plan(tuple(provider.step(change) for change in to_do), keeps, (*problems, *refused))
    _ends_s(plan.steps)
    return plan


def _never(to_do: Sequence[Change]) -> Iterator[str]:
    for change in to_do:
        if change.action is Action.REMOVE and change.resource.kind == PRIMARY:
            yield f"{PRIMARY} {change.resource.name}: is never removed here; do that by hand, if you mean it"


def needed(step: Step, others: Sequence[Step]) -> frozenset[Key]:
    """Which of these steps must be done before it."""
    return step.needs & {other.change.resource.key for other in others}


def _ends_s(steps: Sequence[Step]) -> dict[Key, float]:
    """When each step ends, if each begins as soon as it may. Raises ProvisionError when steps need one another."""
    ends_s: dict[Key, float] = {}
    waiting = list(steps)
    while waiting:
        ready = [step for step in waiting if not needed(step, waiting)]
        if not ready:
            names = ", ".join(step.title for step in waiting)
            raise ProvisionError(
                f"these steps wait for one another: {names}", "report this: it is our mistake"
            )
        for step in ready:
            begins_s = max((ends_s[key] for key in step.needs if key in ends_s), default=0.0)
            ends_s[step.change.resource.key] = begins_s + step.estimate_s
        waiting = [step for step in waiting if step not in ready]
    return ends_s
