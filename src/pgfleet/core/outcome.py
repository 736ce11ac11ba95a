"""What became of a write whose block ended with an error: the caller must know before he tries again."""

from __future__ import annotations

from enum import StrEnum


class Moment(StrEnum):
    """How far a write had come."""

    TRANSACTION = "in a transaction of ours, before COMMIT was sent"
    COMMIT = "COMMIT was sent"
    AUTOCOMMIT = "a statement that commits by itself was sent"


class Outcome(StrEnum):
    """What the server made of it."""

    NOT_DONE = "surely not committed"
    UNKNOWN = "committed or not"
    FAILED = "the statement failed, and its error says all"


def outcome(moment: Moment, *, lost: bool, refused: bool) -> Outcome:
    """What became of a write that met a driver's error at this moment.

    `lost`: the connection went with it. `refused`: the server did none of it, because it is no primary. A transaction
    whose session ends without COMMIT is rolled back; with COMMIT under way it is either, and no error tells which.
    """
    if refused:
        return Outcome.NOT_DONE
    if not lost:
        return Outcome.FAILED
    return Outcome.NOT_DONE if moment is Moment.TRANSACTION else Outcome.UNKNOWN
