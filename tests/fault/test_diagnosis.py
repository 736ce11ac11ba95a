"""Every planned fault happens on real servers, and the first finding is its cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pgfleet.core.diagnosis.catalogue import CATALOGUE
from tests.planned import PLANNED, Planned, Stage

PROMOTED = {"two-primaries", "wrong-timeline"}
"""Played below, on a fleet of their own."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack)


@pytest.mark.parametrize("planned", PLANNED, ids=str)
def test_the_first_finding_is_the_cause(stage: Stage, planned: Planned) -> None:
    try:
        with planned.arrange(stage) as case:
            findings = case.findings()
    except BaseException:
        stage.give_up()
        raise
    assert (findings[0].id, findings[0].node) == (planned.first, planned.node), findings
    assert {*planned.also} <= {finding.id for finding in findings}


def test_every_kind_of_finding_is_made_to_happen() -> None:
    played = {name for planned in PLANNED for name in (planned.first, *planned.also)} | PROMOTED
    assert played == set(CATALOGUE)
