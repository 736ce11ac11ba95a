"""What a plan looks like, whatever its words are."""

from __future__ import annotations

import pytest

from pgfleet.cli.provision_check import Answer, Findings
from pgfleet.cli.provision_view import print_findings, print_plan
from pgfleet.core.changes import Action, Change, Difference, Resource
from pgfleet.provision.plan import Plan
from pgfleet.provision.provider import Step


def test_what_a_tag_or_a_driver_says_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    change = Change(Action.CHANGE, Resource("replica", "a"), (Difference("tags", "[red]", "[/b]"),))
    print_plan(Plan((Step(change, "change a ([1])"),)))
    print_findings(Findings((), (Answer("a", "h:1", "down: [/x]", None),)))
    shown = capsys.readouterr().out
    for text in ("tags: [red] -> [/b]", "a ([1])", "down: [/x]"):
        assert text in shown
