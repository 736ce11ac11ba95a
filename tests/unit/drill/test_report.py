"""What was planted among the calls is found: losses, gaps, long waits, stale reads."""

from __future__ import annotations

from math import inf

import pytest

from pgfleet.drill.calls import Event, Kind
from pgfleet.drill.report import (
    Commits,
    View,
    answered_by_returned,
    back_after_s,
    errors,
    gap_s,
    lost_writes,
    out_after_s,
    rate_kept,
    resumed_after_s,
    since_broken,
    stalest_read_s,
    told,
    too_stale,
    while_broken,
)
from tests.unit.drill.records import ENDED_S, call, looks, record, steady, write


def test_errors_are_counted_by_what_failed_and_how() -> None:
    calls = [
        call(1, None),
        call(2, None),
        call(3, None, kind=Kind.WRITE),
        call(4, None, error="Other"),
        call(5),
    ]
    found = {(count.kind, count.error): count.count for count in errors(calls)}
    assert found == {(Kind.FETCH, "OSError"): 2, (Kind.WRITE, "OSError"): 1, (Kind.FETCH, "Other"): 1}
    assert errors(calls)[0].first == "gone"


def test_a_failure_before_the_fault_is_not_of_the_fault() -> None:
    assert len(since_broken(record([call(9, None), call(10, None), call(25, None)]), Kind.FETCH).failed) == 2
    assert len(while_broken(record([call(9, None), call(10, None), call(25, None)]), Kind.FETCH).failed) == 1


def test_a_gap_lies_between_two_answers_and_errors_do_not_fill_it() -> None:
    view = View([call(1.0), call(1.5, None, caller=1), call(2.0), call(2.25)])
    assert view.longest_gap_s(1.0, 2.3) == pytest.approx(1.0)


def test_who_is_never_answered_again_has_a_gap_to_the_end() -> None:
    assert View([call(1.0)]).longest_gap_s(0.0, 9.0) == pytest.approx(7.99)
    assert View([]).longest_gap_s(0.0, 9.0) == 9.0


def test_the_distance_from_one_call_to_the_next_is_no_gap() -> None:
    assert gap_s(record(steady()), Kind.FETCH) == pytest.approx(0.0, abs=0.02)
    lost = [it for it in steady() if not 12 <= it.due_s < 15]
    assert gap_s(record(lost), Kind.FETCH) == pytest.approx(3.0)


def test_a_caller_waits_from_the_first_failure_to_the_next_success() -> None:
    view = View([call(1, None), call(1, caller=1), call(2, None), call(3, took_s=0.1)])
    assert view.longest_wait_s == pytest.approx(2.1)


def test_a_caller_who_is_never_answered_again_waits_for_ever() -> None:
    assert View([call(1), call(2, None)]).longest_wait_s == inf


def test_callers_of_different_kinds_are_different_callers() -> None:
    view = View([call(1, None), call(2, kind=Kind.WRITE), call(9)])
    assert view.longest_wait_s == pytest.approx(8.01)


def test_a_call_that_waited_for_the_one_before_it_is_late_from_when_it_was_due() -> None:
    held_up = call(1, held_s=3.0)
    assert View([held_up]).good_share == 0.0
    assert View([held_up]).percentile_s(99) == pytest.approx(3.01)
    assert View([held_up]).longest_wait_s == pytest.approx(3.01)


def test_a_call_is_in_time_within_a_second() -> None:
    late = call(1, took_s=1.2)
    assert View([late]).good_share == 0.0
    assert View([late, call(2)]).good_share == 0.5
    assert View([]).good_share is None


def test_percentiles_are_of_the_answered() -> None:
    view = View([call(second, took_s=second / 100) for second in range(1, 101)] + [call(200, None, took_s=9)])
    assert view.percentile_s(50) == pytest.approx(0.5)
    assert view.percentile_s(99) == pytest.approx(0.99)
    assert View([call(1, None)]).percentile_s(50) is None


def test_a_node_is_out_when_the_router_offers_it_no_more() -> None:
    seen = (*looks("replica-1", "replica-2", end_s=13), *looks("replica-1", start_s=13))
    assert out_after_s(record([], looks=seen), "replica-2") == 3.0
    assert out_after_s(record([], looks=seen), "replica-1") == inf
    assert out_after_s(record([]), "replica-2") is None


def test_a_node_is_back_with_its_first_answer_after_it_was_well_again() -> None:
    in_flight = call(9.9, "replica-2", took_s=0.3)
    assert back_after_s(record([in_flight]), "replica-2") == inf
    assert back_after_s(record([in_flight, call(21.5, "replica-2")]), "replica-2") == pytest.approx(1.51)


def test_the_rate_that_is_kept_is_of_what_was_due_in_the_fault() -> None:
    half = [call(second, kind=Kind.WRITE) for second in range(10, 20, 2)]
    assert rate_kept(record(half), Kind.WRITE) == pytest.approx(0.5)
    assert rate_kept(record([]), Kind.WRITE) == 0.0
    assert rate_kept(record([]), Kind.BOUNDED) is None


def test_writes_resume_on_another_node_than_before() -> None:
    calls = [write(9, 1), write(10.05, 2), write(15.4, 3, "replica-1")]
    assert resumed_after_s(record(calls, promoted_s=15.0)) == pytest.approx(0.41)
    assert resumed_after_s(record(calls[:2], promoted_s=15.0)) == inf
    assert resumed_after_s(record(calls)) is None


def test_writes_on_a_returned_primary_are_found() -> None:
    calls = [write(9, 1), write(21, 2), write(22, 3, "replica-1"), call(23, "primary")]
    assert answered_by_returned(record(calls, returned="primary"), Kind.WRITE) == 1
    assert answered_by_returned(record(calls, returned="primary"), Kind.FETCH) == 1
    assert answered_by_returned(record(calls), Kind.WRITE) is None


def test_a_read_is_as_stale_as_the_first_commit_that_it_missed() -> None:
    commits = Commits([write(1, 1), write(2, 2), write(3, 3)])
    assert commits.age_s(call(5, number=3)) == 0.0
    assert commits.age_s(call(5, number=1)) == pytest.approx(2.99)
    assert commits.age_s(call(5, number=None)) == pytest.approx(3.99)
    assert commits.age_s(call(5, None)) == 0.0


def test_a_commit_that_nobody_knew_of_when_the_read_began_is_not_missed() -> None:
    assert Commits([write(1, 1, took_s=9)]).age_s(call(5, number=None)) == 0.0


def test_numbers_need_not_be_committed_in_their_order() -> None:
    overtaken = Commits([write(1, 2), write(1, 1, took_s=3)])
    assert overtaken.age_s(call(5, number=1)) == pytest.approx(3.99)


def test_a_write_that_failed_or_was_lost_is_not_missed() -> None:
    assert Commits([write(1, 1, node=None)]).age_s(call(5)) == 0.0
    assert Commits([write(1, 1)], kept=frozenset()).age_s(call(5)) == 0.0


def test_only_reads_beyond_their_bound_are_too_stale() -> None:
    calls = [
        write(1, 1),
        write(2, 2),
        call(2.5, number=1),
        call(4, number=1, kind=Kind.BLOCK),
        call(5, number=2),
    ]
    assert too_stale(record(calls, bound_s=1.0)) == 1
    assert stalest_read_s(record(calls, bound_s=1.0)) == pytest.approx(1.99)


def test_writes_that_were_acknowledged_and_are_gone_are_lost() -> None:
    calls = [write(1, 1), write(2, 2), write(3, 3, node=None)]
    assert lost_writes(record(calls, kept_numbers=frozenset((2,)))) == 1
    assert lost_writes(record(calls)) is None


def test_events_are_told_by_the_seconds_since_the_beginning() -> None:
    assert told(record([], began_s=4.0, events=(Event(6.5, "broken"),))) == [Event(2.5, "broken")]


def test_the_end_of_the_record_bounds_what_is_of_the_fault() -> None:
    assert since_broken(record([call(ENDED_S)]), Kind.FETCH).calls == []
