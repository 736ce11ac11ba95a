"""The item of the alert rules, from what Prometheus may answer."""

from __future__ import annotations

from typing import Any

import pytest

from pgfleet.verify.figures import Answer
from pgfleet.verify.items import Outcome
from pgfleet.verify.judgements.alerts import RULES, alerts_item

WHERE = "http://prometheus:9090"


def answer(*changes: dict[str, Any], rules: tuple[str, ...] = RULES) -> Answer:
    """Rules as Prometheus has them, the first ones changed, and a recording rule."""
    told = [{"type": "alerting", "name": name, "health": "ok", "state": "inactive"} for name in rules]
    for rule, change in zip(told, changes, strict=False):
        rule.update(change)
    recording = {"type": "recording", "name": "x", "health": "ok"}
    return Answer(200, {"status": "success", "data": {"groups": [{"rules": [recording]}, {"rules": told}]}})


def test_all_rules_are_loaded() -> None:
    item = alerts_item(WHERE, answer())
    assert item.outcome is Outcome.PASSED
    assert item.evidence == (f"3 of the guide's 3 alerts loaded in {WHERE}",)
    assert item.figures == {"loaded": dict.fromkeys(RULES, "ok")}


def test_a_rule_that_fires_is_told() -> None:
    item = alerts_item(WHERE, answer({"state": "firing"}))
    assert (item.outcome, item.evidence[-1]) == (Outcome.PASSED, "firing now: HighReplicationLag")


def test_a_rule_that_is_not_loaded() -> None:
    item = alerts_item(WHERE, answer(rules=RULES[:2]))
    assert (item.outcome, item.evidence[0]) == (Outcome.FAILED, "HighConnectionPoolUtilization is not loaded")
    assert "promtool" in item.next_step


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"health": "err", "lastError": "many-to-many"}, "cannot be evaluated: many-to-many"),
        ({"health": "unknown"}, "was not evaluated yet; look again when its group's interval is over"),
    ],
)
def test_a_rule_that_is_not_well(change: dict[str, Any], told: str) -> None:
    item = alerts_item(WHERE, answer(change))
    assert (item.outcome, item.evidence[0]) == (Outcome.FAILED, f"HighReplicationLag {told}")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Answer(401), "answers 401: it wants somebody else's credentials"),
        (Answer(403, complaint="answers 403"), "answers 403: it wants somebody else's credentials"),
        (Answer(404, complaint="answers 404"), "answers 404"),
        (Answer(200, complaint="answers no JSON"), "answers no JSON"),
        (Answer(None, complaint="no answer: refused"), "no answer: refused"),
        (Answer(200, {"data": {}}), "answers JSON that holds no rules of Prometheus"),
        (Answer(200, []), "answers JSON that holds no rules of Prometheus"),
        (
            Answer(200, {"data": {"groups": [{"rules": ["x"]}]}}),
            "answers JSON that holds no rules of Prometheus",
        ),
    ],
)
def test_somebody_who_is_not_prometheus(said: Answer, told: str) -> None:
    item = alerts_item(WHERE, said)
    assert (item.outcome, item.evidence) == (Outcome.FAILED, (f"{WHERE}: {told}",))
