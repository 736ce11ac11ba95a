from __future__ import annotations

import pytest

from pgfleet.core.outcome import Moment, Outcome, outcome

NOT_DONE, UNKNOWN, FAILED = Outcome.NOT_DONE, Outcome.UNKNOWN, Outcome.FAILED


@pytest.mark.parametrize(
    ("moment", "lost", "refused", "became"),
    [
        (Moment.TRANSACTION, True, False, NOT_DONE),
        (Moment.COMMIT, True, False, UNKNOWN),
        (Moment.AUTOCOMMIT, True, False, UNKNOWN),
        (Moment.TRANSACTION, False, True, NOT_DONE),
        (Moment.AUTOCOMMIT, False, True, NOT_DONE),
        (Moment.TRANSACTION, False, False, FAILED),
        (Moment.COMMIT, False, False, FAILED),
        (Moment.AUTOCOMMIT, False, False, FAILED),
    ],
)
def test_what_became_of_a_write(moment: Moment, lost: bool, refused: bool, became: Outcome) -> None:
    assert outcome(moment, lost=lost, refused=refused) is became
