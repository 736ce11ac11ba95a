"""How plans and their progress look, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from pgfleet.cli.output import NOTHING, figures, number, prose, table, words
from pgfleet.core.changes import Change
from pgfleet.core.words import span
from pgfleet.provision.declaration import Declaration
from pgfleet.provision.plan import Plan
from pgfleet.provision.provider import Step
from pgfleet.provision.redact import redacted

if TYPE_CHECKING:
    from pgfleet.cli.provision_check import Findings

_COLOURS = {"create": "green", "change": "yellow", "finish": "cyan", "remove": "red", "keep": "dim"}


class Lines:
    """Progress as lines on standard error, one a fact. What is done is remembered for the summary."""

    def __init__(self) -> None:
        self.done: list[tuple[Step, float]] = []

    def began(self, step: Step) -> None:
        """See Progress."""
        self._say(f"{step.title} ...")

    def told(self, step: Step, line: str) -> None:
        """See Progress."""
        self._say(f"{step.title}: {line}")

    def ended(self, step: Step, took_s: float) -> None:
        """See Progress."""
        self.done.append((step, took_s))
        self._say(f"{step.title}: done in {span(took_s)}", "green")

    def failed(self, step: Step, why: str) -> None:
        """See Progress."""
        self._say(f"{step.title}: failed: {why}", "red")

    def _say(self, line: str, colour: str | None = None) -> None:
        typer.secho(redacted(line), fg=colour, err=True)


def print_plan(plan: Plan) -> None:
    """A table of what is done and what stays, then the same by hand."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    shown = table(words("action"), prose("what"), prose("why"), figures("takes"))
    for step in plan.steps:
        told = escape(_what(step)), escape(why(step.change))
        shown.add_row(_coloured(step.change), *told, span(step.estimate_s))
    for change in plan.keeps:
        shown.add_row(
            _coloured(change), f"{change.resource.kind} {change.resource.name}", "is as wanted", NOTHING
        )
    if plan.steps or plan.keeps:
        console.print(shown)
    _print_commands(plan)
    console.print(f"\n{summary(plan)}", markup=False)


def _coloured(change: Change) -> str:
    return f"[{_COLOURS[change.action]}]{change.action}[/]"


def _what(step: Step) -> str:
    """The title without the action, which stands before it."""
    consent = f" (needs --allow {step.consent})" if step.consent else ""
    return step.title.removeprefix(f"{step.change.action} ") + consent


def why(change: Change) -> str:
    """What of it differs, or that it is not there."""
    if change.differences:
        told = (
            f"{item.attribute}: {item.is_now or 'not set'} -> {item.wanted}" for item in change.differences
        )
        return redacted("\n".join(told))
    return {
        "create": "is not there",
        "finish": "is there, and not ready",
        "remove": "the file does not want it any more",
    }[change.action]


def _print_commands(plan: Plan) -> None:
    """Whole lines, however narrow the terminal is: they are there to be copied."""
    steps = [step for step in plan.steps if step.commands]
    if steps:
        typer.secho("\nBy hand", bold=True)
    for step in steps:
        typer.secho(f"# {step.title}", dim=True)
        for command in step.commands:
            typer.echo(command)


def summary(plan: Plan) -> str:
    """`2 to create, 1 to remove; about 14 min.`"""
    if not plan.steps:
        return "Nothing to do: everything is as the file says." if not plan.problems else "It cannot be done."
    counts: dict[str, int] = {}
    for step in plan.steps:
        counts[step.change.action] = counts.get(step.change.action, 0) + 1
    told = ", ".join(f"{count} to {action}" for action, count in counts.items())
    return f"{told}; about {span(plan.estimate_s)}. What needs nothing of one another runs at the same time."


def print_applied(
    declaration: Declaration, plan: Plan, environment: Mapping[str, str], fleet_file: str
) -> None:
    """What there is now, and how an application uses it; with passwords it comes from `env`."""
    typer.echo(
        f"{declaration.name} is as the file says."
        if plan.steps
        else f"Nothing to do: {declaration.name} is as the file says."
    )
    if fleet_file:
        typer.echo(f"Processes that follow {fleet_file} have its replicas.")
    if not environment:
        typer.echo("Set DATABASE_URL, and `pgfleet provision env` prints the environment of an application.")
        return
    typer.echo("\n# The environment of an application; `pgfleet provision env` prints it with the passwords.")
    for name, value in environment.items():
        typer.echo(f"{name}={value}")


def print_findings(findings: Findings) -> None:
    """How each node answers, then what is not as it should be."""
    from rich.console import Console
    from rich.markup import escape

    shown = table(words("node"), words("address"), prose("serves"), figures("lag s"))
    for answer in findings.answers:
        serves = escape(answer.reason) if answer.reason else "[green]yes[/]"
        shown.add_row(answer.name, answer.address, serves, number(answer.lag_s, 3))
    if findings.answers:
        Console(highlight=False).print(shown)
    for line in findings.differences:
        typer.echo(line)
    if findings.good:
        typer.echo("\nEverything is as the file says, and answers.")
    else:
        typer.echo(
            "\n`pgfleet provision apply` does what is not done; `pgfleet doctor` tells why a node does not serve."
        )


def plan_json(declaration: Declaration, plan: Plan) -> dict[str, Any]:
    """A plan, in the words of the monitoring API."""
    return {
        "fleet": declaration.name,
        "provider": declaration.provider,
        "steps": [_step_json(step) for step in plan.steps],
        "keeps": [{"kind": change.resource.kind, "name": change.resource.name} for change in plan.keeps],
        "problems": list(plan.problems),
        "consents": list(plan.consents),
        "estimateSeconds": plan.estimate_s,
    }


def _step_json(step: Step) -> dict[str, Any]:
    change = step.change
    return {
        "action": str(change.action),
        "kind": change.resource.kind,
        "name": change.resource.name,
        "title": step.title,
        "differences": [
            {"attribute": item.attribute, "isNow": redacted(item.is_now), "wanted": redacted(item.wanted)}
            for item in change.differences
        ],
        "commands": list(step.commands),
        "estimateSeconds": step.estimate_s,
        "needs": sorted("/".join(key) for key in step.needs),
        "consent": step.consent or None,
    }


def applied_json(
    declaration: Declaration, plan: Plan, lines: Lines, environment: Mapping[str, str]
) -> dict[str, Any]:
    """What was done, and the environment without its passwords."""
    return {
        "fleet": declaration.name,
        "done": [{"title": step.title, "tookSeconds": round(took_s, 3)} for step, took_s in lines.done],
        "kept": len(plan.keeps),
        "environment": dict(environment),
    }
