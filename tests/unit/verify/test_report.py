"""A report as Markdown, as JSON and as a table of 80 columns."""

from __future__ import annotations

import json

import pytest

from pgfleet.cli.verify_view import print_report, record
from pgfleet.verify.items import TITLES, Endpoint, Item, Outcome, Report, judged, skipped
from pgfleet.verify.markdown import markdown

ITEMS = (
    judged("replicas", [], ["3 of 3 replicas answer and stream"], figures={"max_lag_s": 1}),
    judged("lag", ["replica-2: 5.010 s behind, the limit is 1 s"], ["15 looks in 1.5 s"]),
    skipped("alerts", "no Prometheus was named", "Add --prometheus URL."),
    judged("health", ["<b>|\\ [red]said[/] \n the server"], []),
)
REPORT = Report(
    "2026-01-31T09:30:00.000Z",
    2.04,
    ITEMS,
    (
        Endpoint("primary", "primary", "db:5432/hotel"),
        Endpoint("r1", "replica", "r1:5432/hotel", "a", 2, "18.6"),
    ),
    ("The servers differ.",),
)


def test_markdown_ticks_what_passed_alone() -> None:
    text = markdown(REPORT)
    assert (
        text.splitlines()[2] == "1 of 4 items passed, 2 failed, 1 skipped. 2026-01-31T09:30:00.000Z, 2.0 s."
    )
    assert "- [x] **Replicas run and stream**: passed\n    - 3 of 3 replicas answer and stream\n" in text
    assert "- [ ] **Replication lag**: failed\n    - replica-2: 5.010 s behind, the limit is 1 s\n" in text
    assert (
        "- [ ] **Alert rules**: skipped\n    - no Prometheus was named\n    - Next: Add --prometheus URL.\n"
        in text
    )
    assert "| r1 | replica | r1:5432/hotel | a | 2 | 18.6 |" in text
    assert text.endswith("## Notices\n\n- The servers differ.\n")


def test_markdown_shows_what_a_server_said_as_it_was() -> None:
    assert "    - &lt;b>\\|\\\\ [red]said[/] the server\n" in markdown(REPORT)


def test_json_has_the_figures() -> None:
    told = json.loads(json.dumps(record(REPORT)))
    assert (told["passed"], told["tookSeconds"]) == (False, 2.04)
    first, second, third, _ = told["items"]
    assert (first["item"], first["outcome"], first["figures"]) == ("replicas", "passed", {"maxLagSeconds": 1})
    assert (second["nextStep"], third["outcome"]) == ("`pgfleet doctor` finds the cause.", "skipped")
    assert told["endpoints"][1]["address"] == "r1:5432/hotel"


def test_a_table_fits_into_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_report(REPORT)
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    assert "> Add --prometheus URL." in output
    assert "[red]said[/]" in output
    assert output.splitlines()[-1] == "1 of 4 items passed, 2 failed, 1 skipped in 2.0 s."


def test_what_was_skipped_counts_when_it_is_asked_for() -> None:
    left = Report("", 0.0, ITEMS[:1] + ITEMS[2:3])
    assert (left.is_good(), left.is_good(strict=True)) == (True, False)
    assert not REPORT.is_good()


def test_every_item_has_a_title_that_leaves_room() -> None:
    assert all(len(Item(key, Outcome.PASSED, ()).title) <= 24 for key in TITLES)
