"""The guide of the doctor has every finding as the code has it, and every fault with what comes first."""

from __future__ import annotations

import re

import pytest

from pgfleet.core.diagnosis.catalogue import CATALOGUE
from tests.docs.pages import ROOT
from tests.fault.test_diagnosis_promotion import PLAYED
from tests.planned import PLANNED

GUIDE = (ROOT / "docs/guides/doctor.md").read_text()
SECTIONS = dict(re.findall(r"^### `([a-z-]+)`\n(.*?)(?=^##|\Z)", GUIDE, re.MULTILINE | re.DOTALL))
PAGE = re.compile(r"https://www\.postgresql\.org/docs/current/[a-z0-9-]+\.html(#[A-Z0-9-]+)?")


def test_there_is_a_section_for_each_finding_in_the_order_of_causes() -> None:
    assert list(SECTIONS) == list(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_section_says_what_the_code_says(name: str) -> None:
    kind, section = CATALOGUE[name], " ".join(SECTIONS[name].split())
    assert PAGE.fullmatch(kind.manual)
    assert kind.meaning in section
    assert f"({kind.manual})" in section


def test_the_table_has_every_fault_that_is_played_with_its_first_finding_and_the_bounds_that_were_lowered() -> (
    None
):
    rows = re.findall(
        r"^\| (.*?) \| \[`([a-z-]+)`\]\(#([a-z-]+)\) \| (\S+) \| (.*?) ?\|$", GUIDE, re.MULTILINE
    )
    assert [(fault, first, node, lowered) for fault, first, _, node, lowered in rows] == [
        *((planned.fault, planned.first, planned.node, planned.lowered) for planned in PLANNED),
        *((*played, "") for played in PLAYED),
    ]
    assert all(first == anchor for _, first, anchor, *_ in rows)
