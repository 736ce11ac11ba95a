"""`pgfleet provision verify`: whether what is there is what the file says, and answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgfleet.cli.environment import router_of
from pgfleet.cli.provision_fleet import Wanted, settings_of
from pgfleet.core.intent import PLAIN
from pgfleet.core.plan import lag_s
from pgfleet.provision.dsns import at
from pgfleet.provision.pace import Pace
from pgfleet.provision.plan import Plan, plan_apply
from pgfleet.provision.provider import Endpoint

if TYPE_CHECKING:
    from pgfleet.aio import AsyncReplicaRouter

PATIENCE_S = 5.0
PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Answer:
    """One node, as an application meets it."""

    name: str
    address: str
    reason: str
    """Why it serves nobody; empty: it does."""
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What is not as it should be, and how each node answers."""

    differences: tuple[str, ...]
    answers: tuple[Answer, ...]

    @property
    def good(self) -> bool:
        """Whether there is nothing to find."""
        return not self.differences and not any(answer.reason for answer in self.answers)

    def json(self) -> dict[str, Any]:
        """In the words of the monitoring API."""
        return {
            "good": self.good,
            "differences": list(self.differences),
            "nodes": [
                {"name": answer.name, "address": answer.address, "answers": not answer.reason}
                | {"reason": answer.reason or None, "lagSeconds": answer.lag_s}
                for answer in self.answers
            ],
        }


async def check(wanted: Wanted) -> Findings:
    """Compare, and read from each node. Changes nothing."""
    plan = await plan_apply(wanted.provider)
    endpoints = await wanted.provider.endpoints() if not plan.problems else ()
    answers = await _answers(wanted, endpoints) if endpoints else ()
    return Findings(tuple(_differences(plan)), tuple(answers))


def _differences(plan: Plan) -> Iterator[str]:
    yield from plan.problems
    for step in plan.steps:
        yield f"not done: {step.title}"


async def _answers(wanted: Wanted, endpoints: Sequence[Endpoint]) -> list[Answer]:
    """Of each node once it serves, or when it has had its time."""
    _, *replicas = endpoints
    dsn = wanted.dsn()
    settings = settings_of(dsn, {endpoint.name: at(dsn, endpoint) for endpoint in replicas})
    async with router_of(settings) as router:
        async for _ in Pace(PAUSE_S, PATIENCE_S).looks():
            if not any(_reason(router, endpoint.name) for endpoint in endpoints):
                break
        return [
            Answer(
                endpoint.name,
                f"{endpoint.host}:{endpoint.port}",
                _reason(router, endpoint.name),
                lag_s(router.topology, router.topology.node(endpoint.name)),
            )
            for endpoint in endpoints
        ]


def _reason(router: AsyncReplicaRouter[Any], name: str) -> str:
    """Why the node does not serve; empty: it does."""
    topology = router.topology
    if name == "primary":
        return "" if topology.primary_name == name else "it does not answer as the primary"
    reason = router.engine.board.plan(PLAIN).reason(name)
    trouble = topology.node(name).trouble
    if reason is None:
        return ""
    return f"{reason}: {trouble.detail}" if trouble else str(reason)
