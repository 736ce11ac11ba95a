"""What the checker lets pass, and what it finds: each violation by itself, and by chance."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from pgfleet.drill.consistency.checker import Judgement, check
from pgfleet.drill.consistency.history import (
    EMPTY,
    History,
    Outcome,
    Promise,
    Read,
    State,
    Write,
    state_of,
)
from pgfleet.drill.consistency.keys import list_of, name_of, org_of
from pgfleet.drill.consistency.reigns import Promotion
from pgfleet.drill.consistency.verdicts import Check, told
from tests.examples import examples
from tests.unit.drill.consistency.model import STEPS, Model, Step

LIST = list_of(1, 1)


def wrote(number: int, at_s: float, *, key: int = 1, node: str = "primary", session: int = 0) -> Write:
    return Write(key, number, 1, at_s, at_s + 1, Outcome.DONE, node, session)


def read(
    state: State, at_s: float, promise: Promise = Promise.OWN, *, key: int = 1, covers_s: float | None = None
) -> Read:
    session = 1 if promise is Promise.SESSION else 0
    moment_s = at_s if covers_s is None else covers_s
    return Read(key, state, 2, at_s, at_s + 1, "replica-1", promise, moment_s, session)


def broken(judgement: Judgement) -> list[Check]:
    return [verdict.check for verdict in judgement.verdicts if verdict.broken]


def judged(*operations: Write | Read, promotions: tuple[Promotion, ...] = ()) -> list[Check]:
    return broken(check(History(operations), "primary", promotions))


# by chance


@examples(400)
@given(STEPS)
def test_a_cluster_that_keeps_its_promises_passes(steps: list[Step]) -> None:
    model = Model().live(steps)
    judgement = check(model.history, "primary", model.promotions, model.at_the_end())
    assert [str(it) for verdict in judgement.verdicts for it in verdict.violations] == []


@examples(400)
@given(STEPS)
def test_whatever_is_read_too_early_is_found(steps: list[Step]) -> None:
    """A cluster whose every read lacks the last write that it owes: each that shows is told, and nothing else is."""
    model = Model(behind=1).live(steps)
    found = check(model.history, "primary", model.promotions)
    by_check = {verdict.check: verdict.broken for verdict in found.verdicts}
    for check_, promise in (
        (Check.OWN, Promise.OWN),
        (Check.BOUND, Promise.BOUND),
        (Check.PRIMARY, Promise.PRIMARY),
    ):
        assert by_check.get(check_, 0) == sum(1 for it in owed_and_missed(model) if it.promise is promise)
    assert not by_check.get(Check.REAL)


def owed_and_missed(model: Model) -> list[Read]:
    """By going through everything, for each read, with no index and no shortcut."""
    history = model.history
    writes = [history.write(row) for row in range(len(history.writes))]
    reads = [history.read(row) for row in range(len(history.reads))]
    return [it for it in reads if any(_misses(it, write, model.promotions) for write in writes)]


def _misses(it: Read, write: Write, promotions: list[Promotion]) -> bool:
    if write.key != it.key or write.outcome is not Outcome.DONE or write.ended_s >= it.covers_s:
        return False
    gone = any(
        write.began_s < p.at_s <= it.ended_s and not p.keeps(write.key, write.number) for p in promotions
    )
    return write.number > it.state.highest and not gone


# one by one


def test_an_acknowledged_write_must_be_seen() -> None:
    assert judged(wrote(1, 10), read(State(1), 12)) == []
    assert judged(wrote(1, 10), read(EMPTY, 12)) == [Check.OWN]


def test_one_that_was_not_acknowledged_when_the_read_began_may_be_missed() -> None:
    assert judged(wrote(1, 10), read(EMPTY, 11.0)) == []
    assert judged(wrote(1, 10), read(EMPTY, 10.5)) == []


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNKNOWN])
def test_one_that_failed_need_not_be_seen(outcome: Outcome) -> None:
    assert judged(replace(wrote(1, 10), outcome=outcome), read(EMPTY, 12)) == []


def test_one_of_unknown_outcome_may_be_seen_and_one_that_was_refused_may_not() -> None:
    assert judged(replace(wrote(1, 10), outcome=Outcome.UNKNOWN), read(State(1), 12)) == []
    assert judged(replace(wrote(1, 10), outcome=Outcome.REFUSED), read(State(1), 12)) == [Check.REAL]


def test_an_element_that_was_refused_may_not_be_in_a_list() -> None:
    refused = replace(wrote(1, 10, key=LIST), outcome=Outcome.REFUSED)
    without = read(State(2, frozenset({1})), 20, key=LIST)
    assert judged(refused, wrote(2, 12, key=LIST), without) == []
    assert judged(refused, wrote(2, 12, key=LIST), read(State(2), 20, key=LIST)) == [Check.REAL]


def test_nothing_is_read_before_it_is_written() -> None:
    assert judged(read(State(1), 5), wrote(1, 10)) == [Check.REAL]
    assert judged(read(State(7), 5)) == [Check.REAL]


def test_a_bound_covers_what_is_older() -> None:
    late = (wrote(1, 10), wrote(2, 20))
    assert judged(*late, read(State(1), 22, Promise.BOUND, covers_s=17.0)) == []
    assert judged(*late, read(EMPTY, 22, Promise.BOUND, covers_s=17.0)) == [Check.BOUND]


def test_a_token_covers_what_was_acknowledged_when_it_was_asked_for() -> None:
    assert judged(wrote(1, 10), read(EMPTY, 20, Promise.TOKEN, covers_s=10.5)) == []
    assert judged(wrote(1, 10), read(EMPTY, 20, Promise.TOKEN, covers_s=12.0)) == [Check.TOKEN]


def test_the_primary_shows_everything() -> None:
    assert judged(wrote(1, 10), read(EMPTY, 20, Promise.PRIMARY)) == [Check.PRIMARY]


def test_a_plain_read_may_be_old() -> None:
    assert judged(wrote(1, 10), read(EMPTY, 20, Promise.NOTHING, covers_s=float("-inf"))) == []


def test_a_list_has_no_gaps() -> None:
    writes = [wrote(number, 10.0 * number, key=LIST) for number in (1, 2, 3)]
    plain = read(State(3, frozenset({2})), 25, Promise.NOTHING, key=LIST, covers_s=0.0)
    assert judged(*writes, replace(plain, began_s=31.0, ended_s=32.0)) == [Check.ORDER]
    assert judged(*writes, replace(plain, state=State(2), began_s=31.0, ended_s=32.0)) == []


def test_what_is_gone_at_the_end_is_told() -> None:
    history = History([wrote(1, 10, key=LIST), wrote(2, 12, key=LIST), wrote(1, 14)])
    assert broken(check(history, at_the_end={LIST: State(2), 1: State(1)})) == []
    assert broken(check(history, at_the_end={LIST: State(2, frozenset({1})), 1: State(1)})) == [Check.KEPT]
    assert broken(check(history, at_the_end={LIST: State(2)})) == [Check.KEPT]


# sessions


def in_session(state: State, at_s: float, key: int = 1, node: str = "replica-1") -> Read:
    return replace(read(state, at_s, Promise.SESSION, key=key, covers_s=float("-inf")), node=node)


def test_a_session_never_goes_back() -> None:
    writes = wrote(1, 10), wrote(2, 20)
    assert judged(*writes, in_session(State(2), 30), in_session(State(2), 40)) == []
    assert judged(*writes, in_session(State(2), 30), in_session(State(1), 40)) == [Check.SESSION]


def test_a_session_sees_what_it_wrote() -> None:
    assert judged(wrote(1, 10, session=1), in_session(State(1), 20)) == []
    assert judged(wrote(1, 10, session=1), in_session(EMPTY, 20)) == [Check.SESSION]


def test_what_stands_before_a_write_in_the_log_was_seen_with_it() -> None:
    other = list_of(2, 1)
    writes = wrote(1, 10, key=other), wrote(1, 20)
    assert judged(*writes, in_session(EMPTY, 30, other), in_session(State(1), 40)) == []
    assert judged(*writes, in_session(State(1), 30), in_session(EMPTY, 40, other)) == [Check.SESSION]


def test_another_session_begins_anew() -> None:
    later = replace(in_session(EMPTY, 40), session=2)
    assert judged(wrote(1, 10), in_session(State(1), 30), later) == []


def test_the_primary_may_show_a_commit_later_than_a_replica_as_long_as_nobody_was_told_of_it() -> None:
    slow = replace(wrote(1, 10), ended_s=100.0)
    seen = in_session(State(1), 30)
    history = History([seen, in_session(EMPTY, 40, node="primary"), slow])
    judgement = check(history)
    assert (broken(judgement), judgement.overtaken) == ([], 1)
    assert judged(seen, in_session(EMPTY, 40), slow) == [Check.SESSION]
    told_s = replace(slow, ended_s=35.0)
    assert judged(seen, in_session(EMPTY, 40, node="primary"), told_s) == [Check.SESSION]


# promotions


def promotion(at_s: float, node: str = "replica-2", **kept: State) -> Promotion:
    return Promotion(at_s, node, {int(key.removeprefix("key_")): state for key, state in kept.items()})


def test_what_the_promoted_node_did_not_hold_may_be_missed_from_then_on_and_not_before() -> None:
    lost = promotion(30, key_1=State(1))
    writes = wrote(1, 10), wrote(2, 20)
    assert judged(*writes, read(State(1), 31), promotions=(lost,)) == []
    assert judged(*writes, read(State(1), 29.1), promotions=(lost,)) == []  # it ended after the promotion
    assert judged(*writes, read(State(1), 28.9), promotions=(lost,)) == [Check.OWN]
    assert judged(*writes, read(EMPTY, 31), promotions=(lost,)) == [Check.OWN]


def test_what_it_held_must_be_seen() -> None:
    kept = promotion(30, key_1=State(2))
    assert judged(wrote(1, 10), wrote(2, 20), read(State(1), 31), promotions=(kept,)) == [Check.OWN]


def test_what_the_new_primary_acknowledged_must_be_seen() -> None:
    lost = promotion(30, key_1=State(1))
    after = wrote(3, 40, node="replica-2")
    assert judged(wrote(1, 10), wrote(2, 20), after, read(State(1), 50), promotions=(lost,)) == [Check.OWN]
    assert judged(wrote(1, 10), wrote(2, 20), after, read(State(3), 50), promotions=(lost,)) == []


def test_what_the_old_primary_acknowledged_after_the_promotion_is_lost_with_it() -> None:
    lost = promotion(30, key_1=State(1))
    assert judged(wrote(1, 10), wrote(2, 31), read(State(1), 50), promotions=(lost,)) == []


def test_a_second_promotion_takes_what_its_own_node_did_not_hold() -> None:
    both = promotion(30, key_1=State(1)), promotion(60, "primary", key_1=State(1))
    writes = wrote(1, 10), wrote(2, 40, node="replica-2"), wrote(3, 70)
    assert judged(*writes[:2], read(State(1), 61), promotions=both) == []
    assert judged(*writes[:2], read(State(1), 50), promotions=both) == [Check.OWN]
    assert judged(*writes, read(State(1), 80), promotions=both) == [Check.OWN]


def test_a_session_may_go_back_over_what_was_lost_and_no_further() -> None:
    lost = promotion(35, key_1=State(1))
    before = wrote(1, 10), wrote(2, 20), in_session(State(2), 30)
    assert judged(*before, in_session(State(1), 40), promotions=(lost,)) == []
    assert judged(*before, in_session(EMPTY, 40), promotions=(lost,)) == [Check.SESSION]


def test_lost_writes_are_counted_and_are_not_missed_at_the_end() -> None:
    history = History([wrote(1, 10), wrote(2, 20)])
    judgement = check(history, "primary", [promotion(30, key_1=State(1))], {1: State(1)})
    assert (broken(judgement), judgement.lost) == ([], 1)


# what is told


def test_a_violation_tells_the_operations_that_prove_it() -> None:
    judgement = check(History([wrote(1, 10), read(EMPTY, 12)]))
    violation = judgement.verdicts[0].violations[0]
    assert str(violation).splitlines() == [
        "register of org 1 was read without 1:",
        "  10.000000 to 11.000000 s, client 1: wrote 1 to register of org 1, acknowledged by primary",
        "  12.000000 to 13.000000 s, client 2: read 0 in register of org 1 at replica-1, promised all of 12.000000 s",
    ]


def test_holes_are_told_up_to_a_few() -> None:
    seen = read(State(9, frozenset(range(1, 9))), 12, Promise.NOTHING, key=LIST)
    assert "read 1 to 9 without 1, 2, 3, 4, 5 and 3 others in list 1 of org 1" in told(seen)


def test_only_so_many_are_kept_and_all_are_counted() -> None:
    reads = [read(EMPTY, 20.0 + number) for number in range(50)]
    (verdict, _) = check(History([wrote(1, 10), *reads])).verdicts
    assert (verdict.broken, len(verdict.violations)) == (50, 20)


def test_numbers_that_do_not_follow_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="write 3 of key 1"):
        check(History([wrote(1, 10), wrote(3, 12)]))


def test_a_list_s_state_is_its_elements() -> None:
    assert state_of([]) == EMPTY
    assert state_of([2, 1]) == State(2)
    assert state_of([4, 2]) == State(4, frozenset({1, 3}))
    assert not state_of([4, 2]).has(3)
    assert (name_of(1), name_of(LIST), org_of(LIST)) == ("register of org 1", "list 1 of org 1", 1)
