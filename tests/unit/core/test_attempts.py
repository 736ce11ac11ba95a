from __future__ import annotations

import pytest

from pgfleet.core.attempts import NOWHERE, came_back_the_same, is_to_blame
from pgfleet.core.node import Reason
from pgfleet.core.topology import NodeState, Trouble
from tests.unit.core.observations import saw_replica

BEFORE = saw_replica(1000.0, 500, incarnation="1")


def test_a_read_that_lost_two_connections_is_suspicious() -> None:
    once = NOWHERE.after("a", lost=True).after("b", lost=False)
    assert once.nodes == {"a", "b"}
    assert not once.suspicious
    assert once.after("c", lost=True).suspicious


def test_a_server_in_the_same_life_came_back_from_a_crashed_backend() -> None:
    again = saw_replica(1001.0, 500, incarnation="1")
    assert came_back_the_same(BEFORE, NodeState("a", observation=again))
    assert not came_back_the_same(None, NodeState("a", observation=again))
    assert not came_back_the_same(BEFORE, NodeState("a"))
    assert not came_back_the_same(
        BEFORE, NodeState("a", observation=saw_replica(1001.0, 500, incarnation="2"))
    )
    trouble = Trouble(Reason.UNREACHABLE, "in recovery", 1000.5)
    assert not came_back_the_same(BEFORE, NodeState("a", observation=again, trouble=trouble))


@pytest.mark.parametrize(
    ("alive", "was_down", "replicas", "blamed"),
    [
        (1, True, 3, False),
        (2, True, 3, True),
        (2, False, 3, False),
        (3, False, 3, True),
        (3, False, 8, True),
        (2, False, 2, True),
        (1, False, 1, False),
    ],
)
def test_a_read_is_blamed_by_word_or_by_number(
    alive: int, was_down: bool, replicas: int, blamed: bool
) -> None:
    assert is_to_blame(alive, was_down, replicas) is blamed
