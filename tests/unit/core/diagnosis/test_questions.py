"""Each question fits each version: no column is asked for that the version does not have."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from pgfleet.core.diagnosis import questions, rows
from pgfleet.core.diagnosis.question import NEWEST, OLDEST, Question

SINCE = {
    "pg_get_wal_replay_pause_state": 14,
    "wal_status": 13,
    "inactive_since": 17,
    "invalidation_reason": 17,
    "synced": 17,
}
"""By the manuals: the first major version with a function or column that not all have."""
ALL = (questions.SERVER, *questions.SAMPLED, *questions.ONCE)
MAJORS = range(OLDEST, NEWEST + 1)
KINDS = {
    questions.SERVER: rows.Server,
    questions.POSITIONS: rows.Positions,
    questions.SENDERS: rows.Sender,
    questions.SLOTS: rows.Slot,
    questions.RECEIVER: rows.Receiver,
    questions.ORIGIN: rows.Origin,
    questions.SESSIONS: rows.Session,
    questions.PREPARED: rows.Prepared,
    questions.USE: rows.Use,
    questions.ARCHIVER: rows.Archiver,
    questions.WAL: rows.Wal,
    questions.SETTINGS: rows.Setting,
}


def asked(question: Question, major: int) -> set[str]:
    """The words of a statement that are no names given to its columns."""
    return set(re.findall(r"\w+", re.sub(r" as \w+", "", question.sql(major))))


@pytest.mark.parametrize("major", MAJORS)
def test_no_version_is_asked_for_what_it_does_not_have(major: int) -> None:
    words = {word for question in ALL for word in asked(question, major)}
    assert {name for name, since in SINCE.items() if since > major} & words == set()
    assert {name for name, since in SINCE.items() if since <= major} <= words


@pytest.mark.parametrize("question", KINDS, ids=lambda question: question.name)
def test_a_question_has_the_columns_of_its_kind(question: Question) -> None:
    assert [column.name for column in question.columns] == [field.name for field in fields(KINDS[question])]


@pytest.mark.parametrize("question", ALL, ids=lambda question: question.name)
def test_a_question_is_one_select_that_shows_no_statement_and_no_password(question: Question) -> None:
    sql = question.sql(NEWEST)
    assert sql.startswith("select ")
    assert ";" not in sql
    assert not re.search(r"(?<!pg_)\bquery\b|rolpassword|passfile|setconfig", sql)
    whole = re.findall(r"current_setting\('primary_conninfo'\)", sql)
    taken_apart = re.findall(r"substring\(current_setting\('primary_conninfo'\)", sql)
    assert len(whole) == len(taken_apart)


def test_the_settings_hold_no_connection_string() -> None:
    assert "primary_conninfo" not in questions.SETTING_NAMES
