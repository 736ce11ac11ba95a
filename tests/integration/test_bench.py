"""The benchmarks run and report. How fast anything is, no test says: a busy machine would make it a liar."""

from __future__ import annotations

import json
import subprocess
import sys
from math import inf
from typing import Any

import pytest

from bench import faults
from bench.__main__ import BENCHMARKS
from bench.figures import Figure, as_json
from bench.measure import Match, Ratio, Sample


def bench(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def report(name: str) -> dict[str, Any]:
    code, output = bench(name, "--quick", "--json")
    found: dict[str, Any] = json.loads(output)
    assert code == int(any(figure["verdict"] == "MISSED" for figure in found["figures"]))
    return found


def test_the_list_names_every_benchmark() -> None:
    code, output = bench()
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == list(BENCHMARKS)


@pytest.mark.parametrize("name", ["overhead", "fake", "import", "local", "verify"])
def test_a_benchmark_measures_something_and_names_its_machine(name: str) -> None:
    found = report(name)
    assert found["benchmark"] == name
    assert {"cpu", "cores", "kernel", "python", "PostgreSQL", "asyncpg", "psycopg", "hasql"} <= found[
        "machine"
    ].keys()
    assert all(figure["value"] > 0 for figure in found["figures"])
    assert any(figure["verdict"] for figure in found["figures"])


def test_a_table_shows_figure_and_limit() -> None:
    _, output = bench("import", "--quick")
    assert "import pgfleet" in output
    assert "<= 100" in output


def test_faults_are_caused_and_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "DRILLS", ("all-down",))
    found = {figure.what: figure for figure in faults.run(quick=True)}
    errors = found["asyncpg: all-down: errors through fetch"]
    assert (errors.value, errors.verdict) == (0, "ok")
    assert errors.rival is not None
    assert found["asyncpg: all-down: fetches answered, of those begun"].verdict == ""


def sample(p50_s: float) -> Sample:
    return Sample(p50_s, cpu_s=p50_s, per_second=1 / p50_s)


def test_a_ratio_is_taken_within_each_repetition() -> None:
    match = Match(
        {"base": (sample(1.0), sample(10.0), sample(2.0)), "ours": (sample(2.0), sample(5.0), sample(2.0))}
    )
    assert match.ratio("ours", "base", "p50_s") == Ratio(1.0, 0.5, 2.0)
    assert match.median("ours", "p50_s") == 2.0


def test_a_figure_is_missed_on_the_wrong_side_of_its_limit() -> None:
    assert Figure("p50", 1.07, "x", 1.06).verdict == "MISSED"
    assert Figure("p50", 1.06, "x", 1.06).verdict == "ok"
    assert Figure("reads/s", 1.6, "x", 1.7, at_least=True).verdict == "MISSED"
    assert Figure("reads/s", 1.8, "x", 1.7, at_least=True).verdict == "ok"
    assert Figure("floor", 9.0, "x").verdict == ""


def test_what_never_came_is_null_in_json() -> None:
    (figure,) = json.loads(as_json("faults", {}, [Figure("back", inf, "s", 2.0, rival=inf)]))["figures"]
    assert (figure["value"], figure["rival"], figure["verdict"]) == (None, None, "MISSED")
