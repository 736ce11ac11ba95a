"""How sizes, times and names are written."""

from __future__ import annotations

import pytest

from pgfleet.core.words import counted, identifier, literal, size, span


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 kB"), (5_000_000, "4.8 MB"), (1 << 52, "4,096.0 TB")],
)
def test_a_size(count: int, told: str) -> None:
    assert size(count) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (90, "90 s"), (600, "10 min"), (9000, "2.5 h"), (1e6, "12 d")],
)
def test_a_span(seconds: float, told: str) -> None:
    assert span(seconds) == told


def test_names_are_quoted_when_they_must_be() -> None:
    assert [identifier(name) for name in ("app", "App", 'a"b')] == ["app", '"App"', '"a""b"']
    assert literal("it's") == "'it''s'"


def test_a_count() -> None:
    assert (counted(1, "slot"), counted(2, "slot")) == ("1 slot", "2 slots")
