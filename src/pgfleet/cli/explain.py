"""`pgfleet explain`: which node a read would take now, and why not the others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgfleet.core.intent import CONSISTENCIES
from pgfleet.core.words import size

if TYPE_CHECKING:
    from pgfleet.aio import AsyncReplicaRouter
    from pgfleet.core.explain import Explanation

NOT_OURS = "What organisation {} writes is known to the process that writes it, not to this one."
LOOKS = 5
"""How often the nodes are asked again when no replica qualifies, as a read with a tight bound would have them asked."""


def _above_zero(value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise typer.BadParameter("must be above 0; --no-prefer-replica reads the primary")
    return value


def _one_of_them(value: str | None) -> str | None:
    if value is not None and value not in CONSISTENCIES:
        raise typer.BadParameter(f"must be one of {', '.join(CONSISTENCIES)}")
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
    max_lag_bytes: Annotated[
        int | None, typer.Option(min=0, help="How much of the log it may be behind, in bytes.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(help="A token: the read must see what it covers.", show_default=False)
    ] = None,
    consistency: Annotated[
        str | None,
        typer.Option(callback=_one_of_them, help=f"What it must see at all: {', '.join(CONSISTENCIES)}."),
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
    from pgfleet.cli.output import print_json, timestamp
    from pgfleet.core.report import explanation_report

    if consistency == "session" and org_id is None and after is None:
        raise typer.BadParameter('"session" needs --org-id or --after', param_hint="--consistency")
    wishes = {
        "org_id": org_id,
        "max_lag_s": max_lag_s,
        "max_lag_bytes": max_lag_bytes,
        "after": after,
        "consistency": consistency,
        "prefer_replica": prefer_replica,
    }
    explanation, primary = asyncio.run(_ask(wishes))
    report = explanation_report(explanation, timestamp())
    if as_json:
        print_json(report)
    else:
        _print_table(report, primary, org_id)
    if not explanation.candidates:
        raise typer.Exit(1)


async def _ask(wishes: dict[str, Any]) -> tuple[Explanation, str | None]:
    from pgfleet.cli.environment import fleet_of_environment

    async with fleet_of_environment() as router:
        explanation = await _explain(router, wishes)
        return explanation, router.topology.primary_name


async def _explain(router: AsyncReplicaRouter[Any], wishes: dict[str, Any]) -> Explanation:
    explanation: Explanation = router.explain(**wishes)
    is_strict = any(wishes[name] is not None for name in ("max_lag_s", "max_lag_bytes", "after"))
    for _ in range(LOOKS if wishes["prefer_replica"] and is_strict else 0):
        if replicas_of(explanation.candidates, router.topology.primary_name):
            break
        await router.engine.refresh(older_than_s=0.0)
        explanation = router.explain(**wishes)
    return explanation


def replicas_of(candidates: Sequence[str], primary: str | None) -> list[str]:
    """The candidates that are not the primary."""
    return [name for name in candidates if name != primary]


def verdict(candidates: Sequence[str], primary: str | None) -> str:
    """The answer in a sentence."""
    replicas = replicas_of(candidates, primary)
    if len(replicas) > 1:
        return f"This read takes {', '.join(replicas[:-1])} or {replicas[-1]}, in turn."
    if replicas:
        return f"This read takes {replicas[0]}."
    if not candidates:
        return "No node can take this read now."
    return "This read takes the primary" + (f", {primary}." if primary != "primary" else ".")


def what_it_lacks(node: Mapping[str, Any]) -> str:
    """How much of the log a node has still to replay for what the read must see; `-` where nobody knows."""
    if node["satisfied"]:
        return "nothing"
    return size(node["behindBytes"]) if node["behindBytes"] else "-"


def _print_table(report: dict[str, Any], primary: str | None, org_id: str | None) -> None:
    from rich.console import Console

    from pgfleet.cli.output import NOTHING, figures, number, print_details, prose, table, takes_reads, words

    has_replicas = bool(replicas_of(report["candidates"], primary))
    must_see = bool(report["mustSee"])
    lacks = [figures("lacks")] if must_see else []
    shown = table(
        words("node"), words("role"), figures("lag s"), figures("stale s"), *lacks, prose("takes this read")
    )
    for node in report["nodes"]:
        shown.add_row(
            node["name"],
            node["role"] or NOTHING,
            number(node["lagSeconds"], 3),
            number(node["stalenessBoundSeconds"], 1),
            *([what_it_lacks(node)] if must_see else []),
            takes_reads(node, is_last=node["name"] == primary and has_replicas),
        )
    console = Console(highlight=False)
    console.print(f"{verdict(report['candidates'], primary)}\n")
    if must_see:
        console.print(f"It must see {report['mustSee']}.\n")
    console.print(shown)
    print_details(console, report["nodes"])
    if org_id is not None:
        console.print(f"\n{NOT_OURS.format(org_id)}", style="dim", markup=False, soft_wrap=True)
