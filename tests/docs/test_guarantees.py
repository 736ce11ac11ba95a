"""The page of guarantees has every promise that a drill judges, with the code's figure, and no other."""

from __future__ import annotations

import re

from pgfleet.drill.names import DRILLS
from pgfleet.drill.promises import PROMISES, Promise
from pgfleet.drill.scenarios import SCENARIOS
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/guarantees.md").read_text()
GUIDE = (ROOT / "docs/guides/drill.md").read_text()


def row(drill: str, promise: Promise) -> list[str]:
    sign = ">=" if promise.at_least else "<="
    limit = f"{sign} {promise.limit:g} {promise.unit}".strip() if promise.limit else "0"
    return [f"`{promise.name}`", promise.what, limit, f"`pgfleet drill {drill}`"]


def test_the_page_has_the_code_s_promises() -> None:
    lines = re.findall(r"^\| (`[a-z-]+\.[a-z]+`.*) \|$", PAGE, re.MULTILINE)
    wanted = [row(drill, promise) for drill, promises in PROMISES.items() for promise in promises]
    assert [[cell.strip() for cell in line.split(" | ")] for line in lines] == wanted


def test_the_guide_has_every_drill_with_its_length() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| (\d+) s", GUIDE, re.MULTILINE))
    assert rows == {name: f"{scenario.seconds:g}" for name, scenario in SCENARIOS.items()}
    assert list(rows) == list(DRILLS)
