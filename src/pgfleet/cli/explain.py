"""`pgfleet explain`: which node a read would take now, and why not the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pgfleet.aio import AsyncReplicaRouter
    from pgfleet.core.explain import Explanation, NodeExplanation

NOT_OURS = "What organisation {} writes is known to the process that writes it, not to this one."
LOOKS = 5
"""How often the nodes are asked again when no replica qualifies, as a read with a tight bound would have them asked."""


def _above_zero(value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise typer.BadParameter("must be above 0; --no-prefer-replica reads the primary")
    return value


def explain(
    org_id: Annotated[
        str | None, typer.Option(help="The read must see what this organisation wrote.")
    ] = None,
    max_lag_s: Annotated[
        float | None,
        typer.Option(
            callback=_above_zero,
            help="How stale its answer may be, in seconds.",
            show_default="the fleet's own bound",
        ),
    ] = None,
    prefer_replica: Annotated[
        bool,
        typer.Option(
            "--prefer-replica/--no-prefer-replica", help="A replica if one qualifies, or the primary."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show which node a read would take now, and why not the others.

    Exit code 1 when no node would take it. Writes of an organisation are known to the process that made them, not to
    this one.
    """
    wishes = {"org_id": org_id, "max_lag_s": max_lag_s, "prefer_replica": prefer_replica}
    explanation, primary = asyncio.run(_ask(wishes))
    if as_json:
        _print_json(explanation)
    else:
        _print_table(explanation, primary, org_id)
    if not explanation.candidates:
        raise typer.Exit(1)


async def _ask(wishes: dict[str, Any]) -> tuple[Explanation, str | None]:
    from pgfleet.cli.environment import fleet_of_environment

    async with fleet_of_environment() as router:
        explanation = await _explain(router, wishes)
        return explanation, router.topology.primary_name


async def _explain(router: AsyncReplicaRouter[Any], wishes: dict[str, Any]) -> Explanation:
    explanation: Explanation = router.explain(**wishes)
    for _ in range(LOOKS if wishes["prefer_replica"] and wishes["max_lag_s"] else 0):
        if replicas_of(explanation, router.topology.primary_name):
            break
        await router.engine.refresh(older_than_s=0.0)
        explanation = router.explain(**wishes)
    return explanation


def replicas_of(explanation: Explanation, primary: str | None) -> list[str]:
    """The candidates that are not the primary."""
    return [name for name in explanation.candidates if name != primary]


def verdict(explanation: Explanation, primary: str | None) -> str:
    """The answer in a sentence."""
    replicas = replicas_of(explanation, primary)
    if len(replicas) > 1:
        return f"This read takes {', '.join(replicas[:-1])} or {replicas[-1]}, in turn."
    if replicas:
        return f"This read takes {replicas[0]}."
    if primary in explanation.candidates:
        return f"This read takes {primary}, the primary."
    return "No node can take this read now."


def _print_json(explanation: Explanation) -> None:
    from pgfleet.cli.output import print_json, timestamp
    from pgfleet.core.report import explanation_report

    print_json(explanation_report(explanation, timestamp()))


def _print_table(explanation: Explanation, primary: str | None, org_id: str | None) -> None:
    from rich.console import Console

    from pgfleet.cli.output import figures, number, prose, table, words

    shown = table(
        words("node"), words("role"), figures("lag s"), figures("stale s"), prose("takes this read")
    )
    has_replicas = bool(replicas_of(explanation, primary))
    for node in explanation.nodes:
        shown.add_row(
            node.name,
            node.role or "-",
            number(node.lag_s, 3),
            number(node.staleness_bound_s, 1),
            _part(node, node.name == primary and has_replicas),
        )
    console = Console(highlight=False)
    console.print(verdict(explanation, primary))
    console.print(shown)
    if org_id is not None:
        console.print(NOT_OURS.format(org_id), style="dim", markup=False)


def _part(node: NodeExplanation, comes_last: bool) -> str:
    from pgfleet.cli.output import refusal

    if node.candidate:
        return "when no replica can" if comes_last else "[green]yes[/]"
    return refusal(node.reason, node.detail)
