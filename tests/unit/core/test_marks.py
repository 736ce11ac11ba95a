from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.marks import SLOTS, WriteMarks
from tests.examples import examples

orgs = st.integers(0, 6) | st.sampled_from(("a", "b", "c"))
steps = st.lists(st.tuples(st.sampled_from(("begin", "end")), orgs, st.integers(0, 3)), max_size=60)


def test_who_never_wrote_has_no_mark() -> None:
    marks = WriteMarks(8)
    assert marks.last_write_s("org") == 0.0
    marks.end(marks.begin("org"), 5.0)
    assert marks.last_write_s("org") == 5.0


def test_while_a_write_is_open_it_counts_as_now() -> None:
    marks = WriteMarks(8)
    first, second = marks.begin(7), marks.begin(7)
    assert marks.last_write_s(7) == inf
    marks.end(first, 5.0)
    assert marks.last_write_s(7) == inf, "another is still open"
    marks.end(second, 6.0)
    assert marks.last_write_s(7) == 6.0


def test_a_later_mark_is_never_replaced_by_an_earlier_one() -> None:
    marks = WriteMarks(8)
    first, second = marks.begin(7), marks.begin(7)
    marks.end(second, 6.0)
    marks.end(first, 5.0)
    assert marks.last_write_s(7) == 6.0


@examples(50)
@given(steps)
def test_sharing_a_slot_is_only_ever_too_careful(story: list[tuple[str, object, int]]) -> None:
    marks, exact, now_s = (
        WriteMarks(4),
        WriteMarks(1 << 10),
        1.0,
    )  # who share one of the many share one of the few
    opened: list[tuple[int, int]] = []
    for kind, org, which in story:
        now_s += 1.0
        if kind == "begin":
            opened.append((marks.begin(org), exact.begin(org)))
        elif opened:
            few, many = opened.pop(which % len(opened))
            marks.end(few, now_s)
            exact.end(many, now_s)
        for other in (org, 1, "b"):
            assert marks.last_write_s(other) >= exact.last_write_s(other)


def test_memory_is_fixed_and_taken_by_the_first_write() -> None:
    marks = WriteMarks(16)
    assert marks._marks is None
    for org in range(10_000):
        marks.end(marks.begin(org), 1.0)
    assert marks._marks is not None
    assert len(marks._marks) == 16
    assert not marks._open
    assert SLOTS * 8 == 8 << 20
