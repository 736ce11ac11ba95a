"""To which primary a write belongs, and which of them a promotion took away."""

from __future__ import annotations

from pgfleet.drill.consistency.history import State
from pgfleet.drill.consistency.reigns import Promotion, Reigns

REIGNS = Reigns(
    "primary",
    (
        Promotion(100.0, "replica-1", {1: State(5)}),
        Promotion(200.0, "primary", {1: State(9, frozenset({7}))}),
    ),
)


def test_a_write_belongs_to_the_last_reign_of_who_acknowledged_it() -> None:
    assert REIGNS.of("primary", 50.0) == 0
    assert REIGNS.of("primary", 150.0) == 0  # by the old primary, which goes on
    assert REIGNS.of("replica-1", 150.0) == 1
    assert REIGNS.of("replica-1", 250.0) == 1
    assert REIGNS.of("primary", 250.0) == 2


def test_who_reigns_at_a_moment() -> None:
    assert [REIGNS.primary(at_s) for at_s in (99.0, 100.0, 200.5)] == ["primary", "replica-1", "primary"]


def test_what_is_lost_is_lost_by_the_first_promotion_that_did_not_hold_it() -> None:
    assert REIGNS.lost_at_s(1, [4, 5, 6], reign=0) == {6: 100.0}
    assert REIGNS.lost_at_s(1, [7, 8, 9, 10], reign=1) == {7: 200.0, 10: 200.0}
    assert REIGNS.lost_at_s(1, [11], reign=2) == {}


def test_a_key_that_the_promoted_node_did_not_have_is_lost_whole() -> None:
    assert REIGNS.lost_at_s(2, [1, 2], reign=0) == {1: 100.0, 2: 100.0}
