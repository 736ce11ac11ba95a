"""A trial as JSON, and as tables of 80 columns."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from pgfleet.cli.consistency_view import print_trial, record
from pgfleet.drill.calls import Event
from pgfleet.drill.consistency.checker import check
from pgfleet.drill.consistency.course import Options
from pgfleet.drill.consistency.history import EMPTY, History, Outcome, Promise, Read, State, Write
from pgfleet.drill.consistency.nemesis import Deed
from pgfleet.drill.consistency.recorder import Failures, Recorder
from pgfleet.drill.consistency.reigns import Promotion
from pgfleet.drill.consistency.run import Trial


def trial(missed: int = 0, lost: int = 0) -> Trial:
    writes = [Write(1, number, 1, number, number + 0.5, Outcome.DONE, "primary") for number in (1, 2)]
    well = Read(1, State(2), 2, 9.0, 9.5, "replica-1", Promise.OWN, 9.0)
    bad = [Read(1, EMPTY, 2, 10.0 + at, 10.5 + at, "replica-1", Promise.OWN, 10.0) for at in range(missed)]
    promotions = [Promotion(9.7, "replica-1", {1: State(2 - lost)})]
    return Trial(
        options=Options(seed=7),
        judgement=check(History([*writes, well, *bad]), "primary", promotions, {1: State(2 - lost)}),
        seconds=60.0,
        checked_in_s=0.1,
        operations=1_000_000,
        writes=2,
        answers=Counter({"replica-1": 1 + missed}),
        replica_share=0.5,
        events=(Event(1.0, "replica-1 is promoted"),),
        deeds=Counter({Deed.PROMOTE: 1, Deed.KILL: 2}),
        failures=(Failures("read of an org", "PrimaryUnavailable", "no primary " * 20, 1234),),
    )


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, it: Trial) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    print_trial(it)
    return capsys.readouterr().out.splitlines()


def test_a_good_one_fits_into_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, trial(lost=1))
    assert max(map(len, lines)) <= 80
    assert lines[-4:] == [
        "1,000,000 operations in 60 s: 16,667 a second.",
        "Replicas answered 50 % of the reads.",
        "Acknowledged writes that promotions lost, which no promise covers: 1.",
        "All 3 promises are kept.",
    ]
    deeds = [line for line in lines if line.startswith("a replica is")]
    assert [line.split()[-1] for line in deeds] == ["2", "1"]


def test_a_violation_is_told_with_its_operations_and_many_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, trial(missed=8))
    assert lines.count("register of org 1 was read without 2:") == 5
    assert "and 3 others of this promise" in lines
    assert any(line.startswith("1,234 x read of an org: PrimaryUnavailable: no primary") for line in lines)
    assert lines[-1] == "1 of 3 promises broken."


def test_json_has_the_names_of_the_api_and_the_proof() -> None:
    told = json.loads(json.dumps(record(trial(missed=1)), allow_nan=False))
    assert (told["kept"], told["ranSeconds"], told["operations"]) == (False, 60.0, 1_000_000)
    promise = told["promises"][0]
    assert (promise["operations"], promise["violations"], promise["kept"]) == (2, 1, False)
    assert len(promise["proof"][0]) == 3
    assert {"what": "a replica is promoted", "times": 1} in told["deeds"]
    assert told["errors"][0]["error"] == "PrimaryUnavailable"


def test_failures_are_counted_by_call_and_class_most_of_them_first() -> None:
    recorder = Recorder()
    for error in (OSError("gone\nfor good"), ValueError(""), OSError("again")):
        recorder.failed("write", error)
    assert [(it.error, it.count, it.first) for it in recorder.failures] == [
        ("OSError", 2, "gone"),
        ("ValueError", 1, ""),
    ]
