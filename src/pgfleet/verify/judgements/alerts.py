"""Are the alert rules of the guide loaded, and evaluated without an error?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pgfleet.verify.figures import Answer
from pgfleet.verify.items import Item, judged

RULES = ("HighReplicationLag", "ReplicaUnhealthy", "HighConnectionPoolUtilization")
"""Those of the guide, by their names."""
PATH = "/api/v1/rules"
RELOAD = "Name the rules in rule_files of prometheus.yml, and reload: `promtool check rules FILE` reads them."


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert rule as Prometheus has it."""

    name: str
    health: str
    """`ok`; `err`; `unknown`: it was not evaluated yet."""
    state: str
    """`inactive`, `pending` or `firing`."""
    error: str


class NotPrometheus(ValueError):
    """The answer is not that of Prometheus. Its text is why."""


def alerts_item(where: str, answer: Answer) -> Item:
    """What the Prometheus at `where` says of its rules."""
    try:
        rules = read_rules(answer)
    except NotPrometheus as why:
        return judged(
            "alerts", [f"{where}: {why}"], [], "Check --prometheus, and its token if it asks for one."
        )
    loaded = [rule for rule in rules if rule.name in RULES]
    problems = [*_problems(loaded)]
    evidence = [f"{len({rule.name for rule in loaded})} of the guide's {len(RULES)} alerts loaded in {where}"]
    firing = sorted({rule.name for rule in loaded if rule.state == "firing"})
    evidence += [f"firing now: {', '.join(firing)}"] if firing else []
    return judged(
        "alerts", problems, evidence, RELOAD, {"loaded": {rule.name: rule.health for rule in loaded}}
    )


def _problems(loaded: list[Rule]) -> Iterator[str]:
    names = {rule.name for rule in loaded}
    yield from (f"{name} is not loaded" for name in RULES if name not in names)
    for rule in loaded:
        if rule.health == "unknown":
            yield f"{rule.name} was not evaluated yet; look again when its group's interval is over"
        elif rule.health != "ok":
            yield f"{rule.name} cannot be evaluated: {rule.error or rule.health}"


def read_rules(answer: Answer) -> list[Rule]:
    """The alert rules of an answer. Raises NotPrometheus."""
    if answer.status in (401, 403):
        raise NotPrometheus(f"answers {answer.status}: it wants somebody else's credentials")
    if answer.complaint or answer.status != 200:
        raise NotPrometheus(answer.complaint or f"answers {answer.status}")
    try:
        return [_rule(rule) for group in answer.body["data"]["groups"] for rule in _alerts(group)]
    except (TypeError, KeyError, AttributeError):
        raise NotPrometheus("answers JSON that holds no rules of Prometheus") from None


def _alerts(group: Any) -> list[Any]:
    return [rule for rule in group["rules"] if rule.get("type") == "alerting"]


def _rule(rule: Any) -> Rule:
    return Rule(
        str(rule["name"]), str(rule["health"]), str(rule.get("state")), str(rule.get("lastError", ""))
    )
