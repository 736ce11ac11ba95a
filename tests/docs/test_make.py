"""The Makefile does what it lists."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
_, _, PHONY = next(line for line in MAKEFILE.splitlines() if line.startswith(".PHONY")).partition(":")


@pytest.mark.parametrize("target", PHONY.split())
def test_a_target_that_is_no_file_has_a_rule(target: str) -> None:
    """make says "nothing to be done" to one that has none, and ends well."""
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
