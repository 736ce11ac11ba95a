"""A drill in figures, as JSON and as tables of 80 columns."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest

from pgfleet.cli.drill_json import record as as_json
from pgfleet.cli.drill_view import print_drills
from pgfleet.drill.calls import Event, Kind
from pgfleet.drill.promises import PROMISES, judge
from pgfleet.drill.run import Drill, Options
from pgfleet.drill.summary import summary
from tests.unit.drill.records import call, looks, record, steady, write

LOST = [call(12.5, None, caller=1), call(13.5, None, caller=1, kind=Kind.BLOCK)]


def drill(**changes: Any) -> Drill:
    calls = [*steady(), *LOST, *(write(second, second) for second in range(30)), call(5, "replica-2")]
    run = record(
        calls, looks=looks("replica-1", "replica-2"), events=(Event(10.0, "it is broken"),), **changes
    )
    return Drill("kill", "it dies", Options(), run, tuple(judge(PROMISES["kill"], run)))


def test_answers_are_counted_before_during_and_after() -> None:
    nodes = {node.node: node for node in summary(drill().record).nodes}
    replica, primary = nodes["replica-1"], nodes["primary"]
    assert (replica.reads_before, replica.reads_during, replica.reads_after) == (10, 10, 10)
    assert (primary.reads_during, primary.writes_during) == (0, 10)
    assert (nodes["replica-2"].out_after_s, nodes["replica-2"].back_after_s) == (inf, inf)


def test_whoever_answers_without_being_of_the_fleet_is_shown() -> None:
    assert "port 99" in [node.node for node in summary(record([call(1, "port 99")])).nodes]


def test_json_has_the_names_of_the_api_and_no_infinity() -> None:
    told = json.loads(json.dumps(as_json(drill()), allow_nan=False))
    assert (told["drill"], told["kept"], told["driver"]) == ("kill", False, "psycopg")
    assert told["events"] == [{"atSeconds": 10.0, "what": "it is broken"}]
    fetch = next(row for row in told["calls"] if row["call"] == "fetch")
    assert (fetch["errors"], fetch["longestWaitSeconds"]) == (1, None)
    assert told["errors"][0] == {"kind": "fetch", "error": "OSError", "count": 1, "first": "gone"}
    assert next(row for row in told["nodes"] if row["node"] == "replica-2")["outAfterSeconds"] is None
    broken = {promise["name"]: promise["kept"] for promise in told["promises"]}
    assert broken == {"kill.errors": False, "kill.gap": True, "kill.blocks": False, "kill.back": False}


def test_tables_fit_into_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_drills([drill(), drill(bound_s=1.0)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "1 x fetch: OSError: gone" in lines
    assert lines.count("3 of 4 promises broken.") == 2
    assert lines[-1] == "2 drills: broken in kill, kill."


def test_a_run_in_which_nothing_was_broken_by_us_has_no_before_and_after(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_drills([drill(broken_s=0.0)])
    output = capsys.readouterr().out
    assert "all the time" in output
    assert "before" not in output
