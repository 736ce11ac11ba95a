"""Records as a drill writes them, made by hand: it begins at 0 s, breaks at 10, is mended at 20 and ends at 30."""

from __future__ import annotations

from typing import Any

from pgfleet.drill.calls import Answer, Call, Group, Kind, Look, Record

BROKEN_S, STRUCK_S, MENDED_S, ENDED_S = 10.0, 10.1, 20.0, 30.0
GROUPS = (Group(Kind.FETCH, 2, 1.0), Group(Kind.BLOCK, 1, 1.0), Group(Kind.WRITE, 1, 1.0))


def call(
    due_s: float,
    node: str | None = "replica-1",
    *,
    took_s: float = 0.01,
    kind: Kind = Kind.FETCH,
    caller: int = 0,
    number: int | None = None,
    error: str = "OSError",
    held_s: float = 0.0,
) -> Call:
    """One call, answered by a node, or failed; begun when its caller was free for it."""
    answer = Answer(node, number) if node else None
    failure = "" if node else error
    began_s = due_s + held_s
    return Call(kind, caller, due_s, began_s, began_s + took_s, answer, failure, failure and "gone")


def write(due_s: float, number: int, node: str | None = "primary", *, took_s: float = 0.01) -> Call:
    """One write of a number."""
    return call(due_s, node, took_s=took_s, kind=Kind.WRITE, number=number)


def steady(start_s: int = 0, end_s: int = 30, node: str = "replica-1") -> list[Call]:
    """A fetch a second, all answered at once."""
    return [call(float(second), node) for second in range(start_s, end_s)]


def looks(*candidates: str, start_s: int = 0, end_s: int = 30) -> tuple[Look, ...]:
    """The same nodes in the rotation at each second."""
    return tuple(Look(float(second), frozenset(candidates)) for second in range(start_s, end_s))


def record(calls: list[Call], **changes: Any) -> Record:
    """A record of these calls."""
    given: dict[str, Any] = {
        "nodes": ("primary", "replica-1", "replica-2"),
        "victims": ("replica-2",),
        "groups": GROUPS,
        "began_s": 0.0,
        "broken_s": BROKEN_S,
        "struck_s": STRUCK_S,
        "mended_s": MENDED_S,
        "ended_s": ENDED_S,
        "calls": tuple(calls),
    }
    return Record(**(given | changes))
